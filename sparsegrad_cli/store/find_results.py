"""Results of other kinds than runs: folders whose `config.json` says what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import JsonValue


def told(folder: Path, key: str) -> JsonValue:
    """What the `config.json` in a folder has under `key`; None where it has nothing, or cannot be read."""
    try:
        read = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read.get(key) if isinstance(read, dict) else None


def finished_in(folders: Sequence[Path], place: str, is_one: Callable[[Path], bool]) -> list[Path]:
    """Those folders with a `result.json` that `is_one` knows, each once.

    Args:
        folders: results folders, what is above them, or single ones.
        place: the folder in a results folder where they are, such as "bench".
    """
    near = (
        path
        for folder in folders
        for path in (folder, *sorted(folder.glob("*")), *sorted(folder.glob(f"{place}/*")))
    )
    found = dict.fromkeys(path.resolve() for path in near if is_one(path))
    return [path for path in found if (path / "result.json").is_file()]
