"""Moved to `lock`; here until its users have moved."""

from .lock import LOCK, BusyError
from .lock import is_locked as is_held
from .lock import lock as held

__all__ = ["LOCK", "BusyError", "held", "is_held"]
