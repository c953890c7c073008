"""A sweep's folder: written whenever a study has moved on, read for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, WorkError
from ..store.find_results import finished_in, told
from ..store.io import write_text
from ..store.records import read_record
from ..store.schema import Environment
from .schema import Sweep, SweepConfig, SweepResult


@dataclass(frozen=True)
class ReadSweep:
    """A study with its folder and what it ran on; of one that is not on disk yet, neither."""

    sweep: Sweep
    folder: Path | None = None
    environment: Environment | None = None


def sweep_folder(results: Path, config: SweepConfig) -> Path:
    """The folder `<results>/sweeps/<id>`."""
    return results / "sweeps" / config.study_id()


def write_sweep(results: Path, sweep: Sweep, environment: Environment) -> Path:
    """Writes the three files, the result last, each whole and over what was there; gives the folder.

    Several processes may write one study; a reader finds the files of one or another.

    Raises:
        WorkError: it cannot be written.
    """
    folder = sweep_folder(results, sweep.config)
    records = {"config": sweep.config, "environment": environment, "result": sweep.result}
    try:
        for name, record in records.items():
            write_text(folder / f"{name}.json", record.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise WorkError(f"cannot write to {folder}: {error.strerror}; see --output") from None
    return folder


def written_result(results: Path, config: SweepConfig) -> SweepResult | None:
    """What was last written of a study; None if nothing was, or it is damaged."""
    path = sweep_folder(results, config) / "result.json"
    try:
        return read_record(SweepResult, path, "sweep again")
    except InputError:
        return None


def is_sweep(folder: Path) -> bool:
    """Whether `folder` holds a sweep, begun or finished, rather than a run."""
    return told(folder, "sweep") is not None


def read_sweeps(folders: Sequence[Path]) -> tuple[ReadSweep, ...]:
    """Every sweep with a result in the folders: results folders, or single sweeps.

    Of a study that lies in several folders, as after copying, the one that got furthest.

    Raises:
        InputError: a file is not what it should be.
    """
    furthest: dict[str, ReadSweep] = {}
    for found in map(_read, finished_in(folders, "sweeps", is_sweep)):
        known = furthest.setdefault(found.sweep.result.id, found)
        if found.sweep.result.finished > known.sweep.result.finished:
            furthest[found.sweep.result.id] = found
    return tuple(furthest.values())


def _read(folder: Path) -> ReadSweep:
    config = read_record(SweepConfig, folder / "config.json", "sweep again")
    environment = read_record(Environment, folder / "environment.json", "sweep again")
    path = folder / "result.json"
    result = read_record(SweepResult, path, "sweep again")
    if result.id != config.study_id():
        raise InputError(f"{path}: this is the result of {result.id}, config.json beside it is another's")
    return ReadSweep(Sweep(config=config, result=result), folder, environment)
