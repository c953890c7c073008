"""A recording's folder: written whole, read for a report without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import InputError, WorkError
from ..store.find_results import finished_in, told
from ..store.io import write_atomically, write_text
from ..store.records import read_record
from ..store.schema import Environment
from .schema import GradientsConfig, GradientsResult

ADVICE = "take the folder away and record anew"
ARRAYS = "arrays.safetensors"


@dataclass(frozen=True)
class Gradients:
    """One finished recording as it is on disk."""

    folder: Path
    config: GradientsConfig
    result: GradientsResult
    environment: Environment

    def arrays(self) -> dict[str, np.ndarray]:
        """See `schema` for their names and shapes.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = self.folder / ARRAYS
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read ({error}); {ADVICE}") from None


def gradients_folder(results: Path, config: GradientsConfig) -> Path:
    """The folder `<results>/gradients/<id>`."""
    return results / "gradients" / config.record_id()


def finished(results: Path, config: GradientsConfig) -> GradientsResult | None:
    """The result of a recording with this configuration, if there is one.

    Raises:
        InputError: its file is not what it should be.
    """
    path = gradients_folder(results, config) / "result.json"
    return read_record(GradientsResult, path, ADVICE) if path.exists() else None


def write_gradients(
    results: Path,
    config: GradientsConfig,
    result: GradientsResult,
    arrays: Mapping[str, np.ndarray],
    environment: Environment,
) -> Path:
    """Writes the files, the result last; gives the folder.

    Raises:
        WorkError: it cannot be written.
    """
    folder = gradients_folder(results, config)
    records = {"config": config, "environment": environment, "result": result}
    try:
        write_atomically(folder / ARRAYS, lambda temporary: save_file(dict(arrays), temporary))
        for name, record in records.items():
            write_text(folder / f"{name}.json", record.model_dump_json(indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        raise WorkError(f"cannot write to {folder} ({error}); see --output") from None
    return folder


def is_gradients(folder: Path) -> bool:
    """Whether `folder` holds a recording, finished or not, rather than a run."""
    return told(folder, "kind") == "gradients"


def read_gradients(folders: Sequence[Path]) -> tuple[Gradients, ...]:
    """Every finished recording in the folders: results folders, or single recordings.

    Raises:
        InputError: a file is not what it should be.
    """
    return tuple(_read(folder) for folder in finished_in(folders, "gradients", is_gradients))


def _read(folder: Path) -> Gradients:
    kinds = {"config": GradientsConfig, "result": GradientsResult, "environment": Environment}
    return Gradients(
        folder, *(read_record(kind, folder / f"{name}.json", ADVICE) for name, kind in kinds.items())
    )
