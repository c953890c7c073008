"""What a submission lacks, and what to type for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...config import SETTINGS
from ...store.folder import RUNS, ResultFolder
from ...tasks.task import TestSplit
from .runs import Candidate

NO_OPTION = {"task", "model_revision", "data_revision"}  # of a run's configuration
ALWAYS_NAMED = {"model", "data", "method", "seed"}
OF_TASK = {"learning_rate", "batch_size"}  # chosen for each task anew


def missing_words(chosen: Candidate, missing: Sequence[tuple[str, TestSplit]]) -> str:
    """The files, each with its task, and the commands that predict them.

    Args:
        missing: splits that no run has predicted, each after its task.
    """
    words = [f"no predictions for {', '.join(f'{split.file} ({task})' for task, split in missing)}"]
    commands: dict[str, list[str]] = {}
    for task in dict.fromkeys(task for task, _ in missing):
        commands.setdefault(_command(chosen, task), []).append(task)
    for command, (first, *others) in commands.items():
        also = f" (and so with --task {', '.join(others)})" if others else ""
        words.append(f"sparsegrad finetune --task {first} {command} --predict-test{also}")
    for task, split in missing:
        if split.optional and task in chosen.tasks:
            words.append(
                f"{split.file} needs {split.path}.jsonl.gz or {split.tsv} in the directory given to --data"
            )
        if split.majority is not None:
            words.append(f"{split.file} is filled with one class by --fill-missing majority")
    return "; ".join(words)


def _command(chosen: Candidate, task: str) -> str:
    """The options of the run that is there for the task; else those of another task that all tasks share."""
    for runs in (chosen.predicted, chosen.others):
        of_task = runs[runs["task"] == task]
        if not of_task.empty:
            return _options(of_task["folder"].iloc[0], leave_out=NO_OPTION)
    return _options(chosen.predicted["folder"].iloc[0], leave_out=NO_OPTION | OF_TASK)


def _options(folder: Path, leave_out: set[str]) -> str:
    config = ResultFolder(RUNS, folder).config
    usual = {"precision": "fp32", **({"epochs": config.epochs} if config.max_steps else {})}
    words = []
    for name, setting in SETTINGS.items():
        value = getattr(config, name)
        default = setting.off if setting.default_help else setting.default_for(is_chat=False)
        is_left_open = value in (None, False, setting.off, usual.get(name, default))
        if name in leave_out or (is_left_open and name not in ALWAYS_NAMED):
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        words += [setting.option] if value is True else [setting.option, text]
    results = folder.parent.parent  # of results/runs/<id>
    if results != Path("results"):
        words += ["--output", str(results)]
    return shlex.join(words)
