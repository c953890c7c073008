"""Experiments by name: those of this checkout or of the installed package, and any file."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError, unknown

SUFFIXES = (".yaml", ".yml")
PACKAGE = Path(__file__).resolve().parents[1]


def experiment_folder() -> Path:
    """Where the experiments lie: in the wheel inside the package, in a checkout beside it."""
    inside = PACKAGE / "experiments"
    return inside if inside.is_dir() else PACKAGE.parent / "experiments"


def experiment_files() -> list[Path]:
    """All that there are; table 9 before table 10."""
    return sorted(experiment_folder().glob("*.yaml"), key=lambda path: _in_order(path.stem))


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def find_experiment(name: str) -> Path:
    """A file, or the experiment of that name.

    Raises:
        InputError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = {file.stem: file for file in experiment_files()}
    stem = path.stem if path.suffix in SUFFIXES else name
    if stem in known and (path.parent == Path() or path.parent.name == "experiments"):
        return known[stem]
    raise InputError(f"{unknown('experiment', name, known)} (or the path of your own .yaml)")
