"""Moved to `records`; here until its users have moved."""

from .records import read_record

__all__ = ["read_record"]
