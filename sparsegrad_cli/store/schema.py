"""Moved to `records`; here until its users have moved."""

from .records import Environment

__all__ = ["Environment"]
