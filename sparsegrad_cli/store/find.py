"""Find results on disk, wherever they lie, and read them all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InputError, UnreadableResultWarning
from .folder import ResultFolder, ResultKind
from .records import C, R, StoredResult

FILES = {"config.json", "environment.json", "result.json"}  # one of them makes a folder one of ours


def find_results(kind: ResultKind[C, R], folders: Sequence[Path]) -> list[ResultFolder[C, R]]:
    """Returns the folders of a kind, finished or not, each once.

    Args:
        folders: results folders, any folders above them, or single folders. Links are followed. What lies
            inside a folder of ours, such as the runs of a sweep, is not looked at.

    Raises:
        InputError: one of `folders` is missing or cannot be read.
    """
    seen: set[Path] = set()
    return [ResultFolder(kind, path) for folder in folders for path in _walk(folder, seen) if kind.owns(path)]


def read_all(kind: ResultKind[C, R], folders: Sequence[Path]) -> tuple[StoredResult[C, R], ...]:
    """Returns every finished result of a kind; see `find_results` for the folders.

    A folder that cannot be read is named in an `UnreadableResultWarning` and left out.
    """
    found = []
    for folder in find_results(kind, folders):
        try:
            if (folder.path / "result.json").is_file():
                found.append(folder.read())
        except InputError as error:
            warn_left_out(error)
    return tuple(found)


def warn_left_out(error: InputError) -> None:
    """Name a folder that is left out; the command line shows it as one line on stderr."""
    warnings.warn(f"left out: {error}", UnreadableResultWarning, stacklevel=2)


def _walk(folder: Path, seen: set[Path], real: Path | None = None) -> Iterator[Path]:
    """Yields the folders of ours at or below `folder`, never in a circle.

    Args:
        real: where the folder lies, links resolved; None for one that the user gave.
    """
    is_given, real = real is None, real or folder.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such folder" if missing else f"cannot be read as a folder ({error.strerror})"
        problem = InputError(f"{folder}: {reason}")
        if is_given:
            raise problem from None
        warn_left_out(problem)
        return
    if FILES & {entry.name for entry in entries}:
        yield folder
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            path = folder / entry.name
            yield from _walk(path, seen, path.resolve() if entry.is_symlink() else real / entry.name)
