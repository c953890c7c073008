"""Who may write to a folder: one process at a time, until it ends, however it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import WorkError
from .io import write_error

LOCK = "lock"  # a file in each folder that is locked


class BusyError(WorkError):
    """Another process has locked the folder."""


@contextmanager
def lock(folder: Path, timeout: float = 0) -> Iterator[None]:
    """Make the folder and lock it against other processes; the lock dies with its process.

    Args:
        timeout: seconds to wait for another process.

    Raises:
        BusyError: another process has locked it.
        WorkError: it cannot be made.
    """
    file_lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file_lock.acquire(timeout=timeout)
    except Timeout:
        raise BusyError(f"{folder} is being run by another process") from None
    except OSError as error:
        raise write_error(folder, error) from None
    try:
        yield
    finally:
        file_lock.release()


def is_locked(folder: Path) -> bool:
    """Returns whether a process has locked the folder now.

    Raises:
        DiskError: the lock belongs to another user, say, so that it cannot be tried.
    """
    if not (folder / LOCK).exists():
        return False
    file_lock = FileLock(folder / LOCK)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError as error:
        raise write_error(folder, error) from None
    file_lock.release()
    return False
