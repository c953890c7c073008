"""Moved to `records`; here until its users have moved."""

from .records import Completeness, Status

__all__ = ["Completeness", "Status"]
