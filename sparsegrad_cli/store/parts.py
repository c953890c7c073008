"""Counts of a model's parameters on disk: `results/parameters/<id>/` holds

config.json  PartsConfig
result.json  PartsResult; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import WorkError
from .atomic import write_text
from .find_results import finished_in, told
from .read_record import read_record
from .schema import Record


class PartsConfig(Record):
    """What was counted."""

    parameters: Literal[1] = 1  # tells such a folder from a run's; the version of this schema
    model: str  # as typed
    architecture: str  # identity of what says its shapes

    def parts_id(self) -> str:
        """Sixteen hexadecimal digits that name the folder."""
        canonical = json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class Parts(Record):
    """Numbers of scalars."""

    total: int
    mlp: int  # weights and biases of the linears of the MLPs
    embeddings: int  # of tokens, positions and types
    attention: int  # weights and biases of its linears
    rest: int  # norms, and a pooler or an output layer


class PartsResult(Record):
    """`result.json`."""

    id: str
    parts: Parts


@dataclass(frozen=True)
class ReadParts:
    """One count as it is on disk."""

    folder: Path
    config: PartsConfig
    result: PartsResult


def write_parts(results: Path, config: PartsConfig, result: PartsResult) -> Path:
    """Writes both files, the result last; gives the folder.

    Raises:
        WorkError: it cannot be written.
    """
    folder = results / "parameters" / config.parts_id()
    try:
        for name, record in (("config", config), ("result", result)):
            write_text(folder / f"{name}.json", record.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise WorkError(f"cannot write to {folder}: {error.strerror}; see --output") from None
    return folder


def is_parts(folder: Path) -> bool:
    """Whether `folder` holds such a count rather than a run."""
    return told(folder, "parameters") is not None


def read_parts(folders: Sequence[Path]) -> tuple[ReadParts, ...]:
    """Every count in the folders: results folders, or single counts.

    Raises:
        InputError: a file is not what it should be.
    """
    return tuple(_read(folder) for folder in finished_in(folders, "parameters", is_parts))


def _read(folder: Path) -> ReadParts:
    config = read_record(PartsConfig, folder / "config.json", "count again")
    return ReadParts(folder, config, read_record(PartsResult, folder / "result.json", "count again"))
