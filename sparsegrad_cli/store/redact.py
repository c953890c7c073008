"""Moved to `io`; here until its users have moved."""

from .io import redact

__all__ = ["redact"]
