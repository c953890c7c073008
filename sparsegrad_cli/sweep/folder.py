"""The folders of studies, `results/sweeps/<id>/`: written whenever a study has moved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..store.find import read_all
from ..store.folder import ResultKind
from ..store.records import Environment
from .schema import Sweep, SweepConfig, SweepResult

SWEEPS = ResultKind(
    "sweeps", SweepConfig, SweepResult, ("sweep", 1), "delete it and sweep again", id_of=SweepConfig.study_id
)
WRITE_SECONDS = 60.0  # to wait for another process that writes the same folder


@dataclass(frozen=True)
class ReadSweep:
    """A study with its folder and what it ran on; of one that is not on disk yet, neither."""

    sweep: Sweep
    folder: Path | None = None
    environment: Environment | None = None


def sweep_folder(results: Path, config: SweepConfig) -> Path:
    """Returns the folder `<results>/sweeps/<id>`."""
    return SWEEPS.folder(results, config).path


def write_sweep(results: Path, sweep: Sweep, environment: Environment) -> Path:
    """Write the three files over what was there, the result last; returns the folder.

    Processes of several machines may write one study: the lock keeps the files of each together.

    Raises:
        WorkError: it cannot be written.
    """
    folder = SWEEPS.folder(results, sweep.config)
    with folder.lock(WRITE_SECONDS):
        folder.write("config.json", sweep.config)
        folder.write("environment.json", environment)
        folder.write("result.json", sweep.result)
    return folder.path


def written_result(results: Path, config: SweepConfig) -> SweepResult | None:
    """Returns what was last written of a study; None if nothing was, or it is damaged."""
    try:
        return SWEEPS.folder(results, config).result()
    except InputError:
        return None


def read_sweeps(folders: Sequence[Path]) -> tuple[ReadSweep, ...]:
    """Returns every sweep with a result in the folders; see `find_results`.

    Of a study that lies in several folders, as after copying, the one that got furthest counts.
    """
    furthest: dict[str, ReadSweep] = {}
    for stored in read_all(SWEEPS, folders):
        sweep = Sweep(config=stored.config, result=stored.result)
        found = ReadSweep(sweep, stored.folder, stored.environment)
        known = furthest.setdefault(sweep.result.id, found)
        if sweep.result.finished > known.sweep.result.finished:
            furthest[sweep.result.id] = found
    return tuple(furthest.values())
