"""Moved to `io`; here until its users have moved."""

from .io import write_atomically, write_text

__all__ = ["write_atomically", "write_text"]
