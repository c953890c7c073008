"""Studies whose trials take a second: a tiny model, a tiny CoLA, a worker in this process."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from optuna import Study

from sparsegrad_cli import interrupts
from sparsegrad_cli.sweep.plan import plan_study, sources_of
from sparsegrad_cli.sweep.records import SearchSettings, SweepConfig, SweepResult
from sparsegrad_cli.sweep.space import Range, Space
from sparsegrad_cli.sweep.storage import open_storage, registered
from sparsegrad_cli.sweep.study import load_study, open_study, study_result, top_up
from sparsegrad_cli.sweep.trial import Worker, worker_name
from sparsegrad_cli.training.checks import check_settings

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, changed, write_cola

WORKERS = count(1)  # their process ids
SPACE = Space(parameters={"learning_rate": Range(low=1e-4, high=1e-2, log=True), "batch_size": (4, 8)})


def tiny_choices(folder: Path) -> Asked:
    """What a trial trains, but for the task of a second, as large as a task can be small."""
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert", layers=1)),
        "task": "cola",
        "data": str(write_cola(folder / "glue", train=40, dev=12)),
        "methods": ["ft"],
        "max_steps": 6,
        "eval_steps": 2,
        "length": 16,
    }


def tiny_config(choices: Asked, **changes: object) -> SweepConfig:
    """A study of `choices`; `changes` are other arguments of `plan_study`, or other choices."""
    space = changes.pop("space", SPACE)
    how = {name: changes.pop(name, value) for name, value in {"select_on": "dev", "pruner": "none"}.items()}
    given, (method,), seed = separated(changed(choices, **changes))
    given = check_settings(given, [method])
    search = SearchSettings(seed=seed, **how)
    return plan_study(sources_of(given, search.select_on), given, method, search, space)


def separated(choices: Asked) -> tuple[Asked, list[str], int]:
    """Settings, methods and the seed of studies."""
    given = dict(choices)
    methods, (seed,) = given.pop("methods"), given.pop("seeds", [0])
    return {name: value for name, value in given.items() if value is not None}, methods, seed


def begin(config: SweepConfig, results: Path, trials: int) -> Study:
    """The study in the results folder's journal, with a budget of trials."""
    study = open_study(open_storage(None, results), config)
    top_up(study, trials)
    return study


def work(study: Study, results: Path, worker: str = "") -> SweepResult:
    """Does the trials that are left, as a worker process would that opens the storage anew."""
    storage, name = open_storage(None, results), worker or worker_name("test", next(WORKERS))
    with interrupts.deferred(), registered(storage, name):
        Worker(results, name).work([load_study(storage, study.study_name)])
    return study_result(load_study(storage, study.study_name))
