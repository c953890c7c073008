"""Studies whose trials take a second: a tiny model, a tiny CoLA, a worker in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from optuna import Study

from sparsegrad_cli.sweep.plan import ground_of, plan_study
from sparsegrad_cli.sweep.schema import SweepConfig, SweepResult
from sparsegrad_cli.sweep.space import Range, Space
from sparsegrad_cli.sweep.storage import open_storage
from sparsegrad_cli.sweep.study import load_study, open_study, snapshot, top_up
from sparsegrad_cli.sweep.trial import Stop
from sparsegrad_cli.sweep.worker import Worker
from sparsegrad_cli.training.choices import Choices

from ..cells import write_cola
from ..checkpoints import tiny_checkpoint

SPACE = Space(parameters={"learning_rate": Range(low=1e-4, high=1e-2, log=True), "batch_size": (4, 8)})


def tiny_choices(folder: Path) -> Choices:
    """What a trial trains, but for the task of a second, as large as a task can be small."""
    return Choices(
        model=str(tiny_checkpoint(folder / "model", "bert")),
        task="cola",
        data=str(write_cola(folder / "glue", train=40, dev=12)),
        methods=["ft"],
        max_steps=6,
        eval_steps=2,
        length=16,
    )


def tiny_config(choices: Choices, **changes: object) -> SweepConfig:
    """A study of `choices`; `changes` are other arguments of `plan_study`, or other choices."""
    fields = {field.name for field in dataclasses.fields(Choices)}
    of_choices = {name: value for name, value in changes.items() if name in fields}
    how = {"select_on": "dev", "pruner": "none", "space": SPACE}
    how |= {name: value for name, value in changes.items() if name not in fields}
    choices = dataclasses.replace(choices, **of_choices)
    return plan_study(ground_of(choices, how["select_on"]), choices, **how)


def begin(config: SweepConfig, results: Path, trials: int) -> Study:
    """The study in the results folder's journal, with trials queued."""
    study = open_study(open_storage(None, results), config)
    top_up(study, trials)
    return study


def work(study: Study, results: Path, stop: Stop | None = None) -> SweepResult:
    """Does every trial that is queued, as a worker process would that opens the storage anew."""
    storage = open_storage(None, results)
    Worker(results, stop or Stop()).work([load_study(storage, study.study_name)])
    return snapshot(load_study(storage, study.study_name)).result
