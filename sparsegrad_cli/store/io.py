"""Files that are either whole or not there, locks, the user's cache, and text without passwords."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskError, WorkError, is_disk_full

TEMPORARY = ".*.tmp"  # matches what `write_atomically` leaves behind when its process is killed
LOCK = "lock"  # a file in each folder that is locked
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of a folder, on some network file systems

_URL_PASSWORD = re.compile(r"(://[^/:@\s]*):\S*@")
_PARAMETER_PASSWORD = re.compile(r"([?&;][^?&;=\s]*(?:password|passwd|pwd|secret|token)=)[^&;\s'\"]*", re.I)


def write_error(path: Path, error: OSError) -> DiskError:
    """Returns the error to raise where a file or folder cannot be written, with the way out."""
    way_out = "make room, and the same command goes on" if is_disk_full(error) else "see --output"
    return DiskError(f"cannot write to {path}: {error.strerror or error}; {way_out}")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Whatever goes wrong, `path` is what it was and the temporary file is gone. The temporary name is random,
    since processes on several hosts that share a disk may have the same process id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


class BusyError(WorkError):
    """Another process has locked the folder."""


@contextmanager
def lock(folder: Path, timeout: float = 0) -> Iterator[None]:
    """Make the folder and lock it against other processes; the lock dies with its process.

    Args:
        timeout: seconds to wait for another process.

    Raises:
        BusyError: another process has locked it.
        DiskError: it cannot be made.
    """
    from filelock import FileLock, Timeout

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
    try:
        with lock(folder):
            return False
    except BusyError:
        return True


def cache_folder() -> Path:
    """Returns `$SPARSEGRAD_CACHE`, or `sparsegrad` in the user's cache folder."""
    given = os.environ.get("SPARSEGRAD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsegrad"


def add_cache_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a folder beside `folder`, then move it there in one step.

    Two processes may add the same folder at once: the first one counts, since a cached folder is named by
    all that decides its content.

    Raises:
        WorkError: the folder cannot be written.
    """
    hint = "set SPARSEGRAD_CACHE to a folder of yours"
    temporary = folder.with_name(f".{os.urandom(8).hex()}.tmp")  # its mode is the user's, not mkdtemp's 0700
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise WorkError(f"cannot write to the cache ({error}); {hint}") from None
    try:
        write(temporary)
        if not folder.is_dir():
            os.replace(temporary, folder)
    except OSError as error:
        if not folder.is_dir():
            raise WorkError(f"cannot write {folder}: {error}; {hint}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def redact(text: str) -> str:
    """Returns `text` with the passwords of URLs replaced: `postgresql://user:***@host?sslpassword=***`."""
    return _PARAMETER_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text))
