"""Run folders, read into one frame: a row a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..config import RunConfig
from ..errors import InputError
from ..store.find import find_results, warn_left_out
from ..store.folder import RUNS, RunFolder
from ..store.records import Environment

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
        InputError: a folder is missing or holds no run that can be read; other unreadable runs are named and
            left out.
    """
    found: dict[Path, RunFolder] = {}
    for folder in folders:
        inside = {run.path.resolve(): run for run in find_results(RUNS, [folder])}
        if not inside:
            raise InputError(f"{folder}: no run in it; `sparsegrad finetune --output {folder}` makes some")
        found = inside | found
    rows, problems = [], []
    for run in found.values():
        try:
            rows.append(_read_run(run))
        except InputError as error:
            problems.append(error)
    if not rows:
        raise problems[0]
    for problem in problems:
        warn_left_out(problem)
    frame = pd.DataFrame(rows, dtype=object)
    return frame.where(frame.notna(), None)


def holds_runs(folder: Path) -> bool:
    """Returns whether there is a run at or below `folder`.

    Raises:
        InputError: it is missing or cannot be read.
    """
    return bool(find_results(RUNS, [folder]))


def _read_run(folder: RunFolder) -> dict[str, object]:
    config = folder.config
    common = {
        **config.model_dump(),
        "id": config.run_id(),
        "same": _deciding(config).run_id(),
        "folder": folder.path,
    }
    if folder.result() is None:
        return {**common, "status": UNFINISHED, "score": None}  # the rest is None too, beside other runs
    stored = folder.read()
    result, environment = stored.result, stored.environment
    if result.status == "done" and result.score is None:
        raise InputError(f"{folder.path / 'result.json'}: the run is done but has no score")
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
