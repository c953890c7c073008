"""From what a user asked for to studies, checked before anything is trained."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..config import SETTINGS, Given, Pruner, RunConfig, SelectOn
from ..errors import InputError
from ..methods import get_method
from ..settings import Setting
from ..store.io import write_error, write_text
from ..store.lock import lock
from ..tasks.splits import hold_out
from ..training.checks import check_settings
from ..training.params import Best
from ..training.resolve import Sources, find_sources, of_method, resolve
from .folder import WRITE_SECONDS, read_sweeps, sweep_folder
from .schema import Sweep, SweepConfig
from .space import PAPER, Space, Value, read_space


def sources_of(given: Given, select_on: SelectOn, shapes_only: bool = False) -> Sources:
    """What the trials start from; with a part of train in place of dev where that selects."""
    sources = find_sources(given, shapes_only)
    return replace(sources, data=hold_out(sources.data)) if select_on == "holdout" else sources


def plan_study(
    sources: Sources,
    given: Given,
    method: str,
    seed: int,
    select_on: SelectOn,
    pruner: Pruner,
    space: Space,
) -> SweepConfig:
    """The study of one method: what it has no use for, of settings and of the space, is left out.

    Raises:
        InputError: a value in the space does not fit the model or the other settings.
    """
    given = of_method(given, method)
    space = space.used_by(get_method(method).settings)
    for values in space.corners():
        try:
            template = _resolve(sources, given, method, seed, select_on, values)
        except InputError as error:
            raise InputError(f"the space, {_words(values)}: {error}") from None
    return SweepConfig(
        given=given,
        select_on=select_on,
        pruner=pruner,
        space=space,
        template=template,
        checkpoint=sources.checkpoint.identity,
        score_name=sources.data.task.score_name,
        data=sources.data.record(),
    )


def plan_trial(sources: Sources, config: SweepConfig, values: Mapping[str, Value]) -> RunConfig:
    """The run of a trial.

    Raises:
        InputError: model, data or device are no longer what the study was made for.
    """
    template = config.template
    run = _resolve(sources, config.given, config.method, template.seed, config.select_on, values)
    for what in ("model_revision", "data_revision", "device"):
        was, now = getattr(template, what), getattr(run, what)
        if was != now:
            name = what.replace("_", " ")
            raise InputError(f"{config.study_name()} was made for {name} {was}, here it is {now}")
    return run


def plan_studies(
    given: Given,
    tasks: Sequence[str],
    methods: Sequence[str],
    seed: int,
    select_on: SelectOn,
    pruner: Pruner,
    space: Path | None,
    shapes_only: bool = False,
) -> list[SweepConfig]:
    """A study of each method on each task.

    Args:
        given: settings of every study; what is given there is not searched.
        space: a YAML, see `read_space`.
        shapes_only: see `find_sources`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    given = check_settings(given, methods)
    searched = _searched(given, methods, read_space(space), space)
    configs = []
    for task in dict.fromkeys(tasks):
        of_task = {**given, "task": task}
        sources = sources_of(of_task, select_on, shapes_only)
        for method in dict.fromkeys(methods):
            configs.append(plan_study(sources, of_task, method, seed, select_on, pruner, searched))
    return configs


def _searched(given: Given, methods: Sequence[str], space: Space, path: Path | None) -> Space:
    """The space without what an option fixes.

    Raises:
        InputError: the user gave both a value and a range, or a range that no method has a use for.
    """
    parameters = dict(space.parameters)
    for name in space.parameters:
        setting = SETTINGS[name]
        if setting.of_method and not any(name in get_method(method).settings for method in methods):
            raise InputError(
                f"--space {path}: {name} is not used by --method {', '.join(methods)}: leave it out"
            )
        if name in given:
            if space.parameters[name] != PAPER.get(name):
                raise InputError(
                    f"{setting.option} fixes what --space {path} searches: leave one of them out"
                )
            del parameters[name]
    if not parameters:
        raise InputError("nothing is left to search: --learning-rate and --batch-size fix it; see --space")
    return Space(parameters=parameters)


def _resolve(
    sources: Sources,
    given: Given,
    method: str,
    seed: int,
    select_on: SelectOn,
    values: Mapping[str, Value],
) -> RunConfig:
    protocol = {"protocol": "paper"} if select_on == "holdout" else {}
    (config,), _ = resolve({**given, **protocol, **values}, [method], [seed], sources)
    return config


def _words(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


SEEDS = (0, 1, 2)  # the paper's number of them


def finetune_command(config: SweepConfig, best: Path, results: Path) -> str:
    """`sparsegrad finetune` with the study's options, its best parameters and three seeds."""
    given = {"model": config.model, **config.given}
    words = ["--task", given.pop("task"), "--method", config.method]
    for name, value in given.items():
        if name not in config.space.parameters:
            words += _option(SETTINGS[name], value)
    words += ["--params", str(best)]
    for seed in SEEDS:
        words += ["--seed", str(seed)]
    if results != Path("results"):
        words += ["--output", str(results)]
    return shlex.join(["sparsegrad", "finetune", *words])


def _option(setting: Setting, value: Any) -> list[str]:
    yes, _, no = setting.flag.partition("/")
    if isinstance(value, bool):
        return [flag for flag in (yes if value else no,) if flag]
    values = value if isinstance(value, list | tuple) else [value]
    return [word for each in values for word in (yes, f"{each:g}" if isinstance(each, float) else str(each))]


NAME = "best.yaml"
HEADER = "# The best that `sparsegrad sweep` found; `sparsegrad finetune --params` and `run` read it.\n"


def best_path(results: Path, sweep: Sweep) -> Path:
    """Where the best parameters of a study are."""
    return sweep_folder(results, sweep.config) / NAME


def write_best(results: Path, sweeps: Iterable[Sweep]) -> None:
    """Writes `best.yaml` into the folder of each study that has a best trial, and one of all into `sweeps/`.

    Raises:
        WorkError: one cannot be written.
    """
    for sweep in sweeps:
        if sweep.result.best is not None:
            _write(best_path(results, sweep), [best_of(sweep)])
    with lock(results / "sweeps", WRITE_SECONDS):  # or another process's file, of fewer studies, might stay
        every = [read.sweep for read in read_sweeps([results])]
        if entries := [best_of(sweep) for sweep in every if sweep.result.best is not None]:
            _write(results / "sweeps" / NAME, entries)


def best_of(sweep: Sweep) -> Best:
    """The entry of a study that has a best trial."""
    config, best = sweep.config, sweep.result.best
    assert best is not None
    return Best(
        model=config.model,
        task=config.task,
        method=config.method,
        params=dict(best.params),
        score_name=config.score_name,
        score=best.score,
        select_on=config.select_on,
        protocol=config.template.protocol,
        trials=sweep.result.finished,
        study=sweep.result.id,
    )


def _write(path: Path, entries: Iterable[Best]) -> None:
    plain = [entry.model_dump(exclude_none=True) for entry in entries]
    try:
        write_text(path, HEADER + yaml.safe_dump(plain, sort_keys=False))
    except OSError as error:
        raise write_error(path, error) from None
