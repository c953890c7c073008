"""Moved to `io`; here until its users have moved."""

from .io import add_cache_folder as add_folder
from .io import cache_folder

__all__ = ["add_folder", "cache_folder"]
