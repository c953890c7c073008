"""Run folders, read into one frame: a row a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ..bench.folder import is_bench
from ..errors import InputError
from ..gradients.folder import is_gradients
from ..judge.records import JUDGEMENTS
from ..store.parts import is_parts
from ..store.read_record import read_record
from ..store.schema import Environment, Result, RunConfig
from ..sweep.folder import is_sweep

TAKE_AWAY = "take the folder away"
UNFINISHED = "unfinished"  # the status of a run without a result: it is going on, or was killed


def read_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Reads every run in the folders; one that is found twice counts once.

    Args:
        folders: results folders, any folders above runs, or single runs.

    Returns:
        One row a run, as the files have it (None stays None): the keys of `RunConfig`; of `Result` all but
        `parameters` and `data`, whose keys stand in their place, `epochs`, here `epochs_taken`, and
        `accumulation_steps`, here `parts_taken`; of
        `Environment` checkpoint, git_revision, git_dirty and, in words, hardware; `folder`; and `same`,
        equal for runs whose configurations come to the same.

    Raises:
        InputError: a folder is missing or holds no run, or a file of a run is not what it should be.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        inside = {path.resolve(): path for path in _run_folders(folder, set())}
        if not inside:
            raise InputError(f"{folder}: no run in it; `sparsegrad finetune --output {folder}` makes some")
        found = inside | found
    frame = pd.DataFrame([_read_run(folder) for folder in found.values()], dtype=object)
    return frame.where(frame.notna(), None)


def holds_runs(folder: Path) -> bool:
    """Whether there is a run at or below `folder`.

    Raises:
        InputError: it is missing or cannot be read.
    """
    return any(True for _ in _run_folders(folder, set()))


def _run_folders(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The runs at or below `folder`, trials of sweeps left out; follows links, but never in a circle."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        raise InputError(f"{folder}: no such folder") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be read as a folder ({error.strerror})") from None
    if any(is_other(folder) for is_other in (is_bench, is_sweep, is_gradients, JUDGEMENTS.owns, is_parts)):
        return
    names = {entry.name for entry in entries}
    if names & {"result.json", "environment.json"} or (
        "config.json" in names and folder.parent.name == "runs"
    ):
        yield folder
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _run_folders(entry, seen)


def _read_run(folder: Path) -> dict[str, object]:
    config = read_record(RunConfig, folder / "config.json", TAKE_AWAY)
    common = {
        **config.model_dump(),
        "id": config.run_id(),
        "same": _deciding(config).run_id(),
        "folder": folder,
    }
    path = folder / "result.json"
    if not path.exists():
        return {**common, "status": UNFINISHED, "score": None}  # the rest is None too, beside other runs
    result = read_record(Result, path, TAKE_AWAY)
    if result.id != config.run_id():
        raise InputError(f"{path}: this is the result of run {result.id}, config.json beside it is another's")
    if result.status == "done" and result.score is None:
        raise InputError(f"{path}: the run is done but has no score")
    environment = read_record(Environment, folder / "environment.json", TAKE_AWAY)
    return {
        **common,
        **result.model_dump(exclude={"parameters", "data", "epochs", "accumulation_steps"}),
        "epochs_taken": result.epochs,
        "parts_taken": result.accumulation_steps,
        **(result.parameters.model_dump() if result.parameters else {}),
        **result.data.model_dump(),
        "checkpoint": environment.checkpoint,
        "git_revision": environment.git_revision,
        "git_dirty": environment.git_dirty,
        "hardware": hardware_words(environment),
    }


def _deciding(config: RunConfig) -> RunConfig:
    """The configuration without what decides nothing: where the data lay, and epochs under `max_steps`."""
    return config.model_copy(update={"data": "", **({"epochs": 0.0} if config.max_steps else {})})


def hardware_words(environment: Environment) -> str:
    """The GPU's name, or the processor's with its threads."""
    hardware = environment.hardware
    processor = f"{hardware.get('processor', 'processor unknown')}, {hardware.get('threads', '?')} threads"
    return str(hardware.get("gpu", processor))
