"""The user's cache: folders that can be made anew, each named from all that decides what is in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import WorkError


def cache_folder() -> Path:
    """`$SPARSEGRAD_CACHE`, or `sparsegrad` in the user's cache folder."""
    given = os.environ.get("SPARSEGRAD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsegrad"


def add_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a folder beside `folder`, then moves it there in one step; another may be first.

    Raises:
        WorkError: it cannot be written.
    """
    hint = "set SPARSEGRAD_CACHE to a folder of yours"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
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
