"""Moved to `records`; here until its users have moved."""

from .records import TEST_PREDICTIONS

__all__ = ["TEST_PREDICTIONS"]
