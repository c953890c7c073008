"""Resolve what the user gave to studies and trials, checked before anything is trained."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic_core import to_jsonable_python

from ..config import SETTINGS, Given, RunConfig, SelectOn
from ..errors import InputError
from ..methods import get_method
from ..tasks.splits import hold_out
from ..training.checks import check_settings
from ..training.resolve import Sources, find_sources, of_method, resolve
from .records import SEARCH_SETTINGS, SearchSettings, SweepConfig
from .space import PAPER, Space, Value, read_space

SEEDS = (0, 1, 2)  # as many as the paper's


def plan_studies(
    given: Given,
    tasks: Sequence[str],
    methods: Sequence[str],
    search: SearchSettings,
    shapes_only: bool = False,
) -> list[SweepConfig]:
    """Returns a study of each method on each task.

    Args:
        given: settings of every study; what is given there is not searched.
        shapes_only: see `find_sources`.

    Raises:
        InputError: what the user gave is wrong or does not fit.
    """
    given = check_settings(given, methods)
    space = _searched(given, methods, search.space)
    configs = []
    for task in dict.fromkeys(tasks):
        of_task = {**given, "task": task}
        sources = sources_of(of_task, search.select_on, shapes_only)
        for method in dict.fromkeys(methods):
            configs.append(plan_study(sources, of_task, method, search, space))
    return configs


def sources_of(given: Given, select_on: SelectOn, shapes_only: bool = False) -> Sources:
    """Returns model, data and basis of the trials; with a part of train in place of dev if that selects."""
    sources = find_sources(given, shapes_only)
    return replace(sources, data=hold_out(sources.data)) if select_on == "holdout" else sources


def plan_study(
    sources: Sources, given: Given, method: str, search: SearchSettings, space: Space
) -> SweepConfig:
    """Returns the study of one method, without settings and ranges that only other methods use.

    Raises:
        InputError: a value in the space does not fit the model or the other settings.
    """
    given = of_method(given, method)
    space = space.used_by(get_method(method).settings)
    for values in space.extremes():
        try:
            template = _resolve(sources, given, method, search.seed, search.select_on, values)
        except InputError as error:
            tried = ", ".join(f"{name} {value}" for name, value in values.items())
            raise InputError(f"the space, {tried}: {error}") from None
    return SweepConfig(
        given=given,
        select_on=search.select_on,
        pruner=search.pruner,
        space=space,
        template=template,
        checkpoint=sources.checkpoint.identity,
        score_name=sources.data.task.score_name,
        data=sources.data.record(),
    )


def plan_trial(sources: Sources, config: SweepConfig, values: Mapping[str, Value]) -> RunConfig:
    """Returns the run of a trial; raises InputError if model, data or device are not those of the study."""
    template = config.template
    run = _resolve(sources, config.given, config.method, template.seed, config.select_on, values)
    for what in ("model_revision", "data_revision", "device"):
        was, now = getattr(template, what), getattr(run, what)
        if was != now:
            name = what.replace("_", " ")
            raise InputError(f"{config.study_name()} was made for {name} {was}, here it is {now}")
    return run


def check_resumed(
    configs: Sequence[SweepConfig],
    given: Given,
    tasks: Collection[str] = (),
    methods: Collection[str] = (),
) -> list[SweepConfig]:
    """Returns the stored studies that `--resume` goes on with: those of the tasks and methods, or all.

    Args:
        given: settings of runs and of the search that the user gave beside `--resume`.

    Raises:
        InputError: there is no such study, or an option contradicts what a study was made with.
    """
    for option, wanted, stored in (
        ("--task", tasks, {config.task for config in configs}),
        ("--method", methods, {config.method for config in configs}),
    ):
        for name in wanted:
            if name not in stored:
                there = ", ".join(sorted(stored))
                raise InputError(f"--resume: no stored study has {option} {name}, there are {there}")
    chosen = [c for c in configs if c.task in (tasks or [c.task]) and c.method in (methods or [c.method])]
    if not chosen:
        raise InputError("--resume: no stored study is of one of these tasks with one of these methods")
    search = {name: value for name, value in given.items() if name in SEARCH_SETTINGS and name != "trials"}
    of_runs = {name: value for name, value in given.items() if name not in SEARCH_SETTINGS}
    of_runs = check_settings(of_runs, [config.method for config in chosen])
    for config in chosen:
        made_with = {**config.template.model_dump(), **config.given}
        made_with |= {"select_on": config.select_on, "pruner": config.pruner}
        for name, value in {**of_method(of_runs, config.method), **search}.items():
            option = {**SETTINGS, **SEARCH_SETTINGS}[name].option
            contradicts = f"--resume: {option} {value} contradicts {config.study_name()}, which"
            if name in config.space.parameters:
                raise InputError(f"{contradicts} searches it")
            if name == "space":
                space = read_space(Path(value)).used_by(get_method(config.method).settings)
                if space != config.space:
                    raise InputError(f"{contradicts} searches {', '.join(config.space.parameters)}")
            elif to_jsonable_python(value) != to_jsonable_python(made_with[name]):
                raise InputError(
                    f"{contradicts} was made with {made_with[name]}; leave it out, or leave out --resume to "
                    "make another study"
                )
    return chosen


def finetune_command(config: SweepConfig, best: Path, results: Path) -> str:
    """Returns a `sparsegrad finetune` command with a study's options, its best parameters and three seeds."""
    given = {"model": config.model, **config.given}
    words = ["--task", given.pop("task"), "--method", config.method]
    for name, value in given.items():
        if name not in config.space.parameters:
            words += SETTINGS[name].words(value)
    words += ["--params", str(best)]
    for seed in SEEDS:
        words += ["--seed", str(seed)]
    if results != Path("results"):
        words += ["--output", str(results)]
    return shlex.join(["sparsegrad", "finetune", *words])


def _searched(given: Given, methods: Sequence[str], path: str | None) -> Space:
    """Returns the space of a YAML file, or the paper's, without what an option fixes."""
    parameters = dict(read_space(None if path is None else Path(path)).parameters)
    for name, what in list(parameters.items()):
        setting = SETTINGS[name]
        if setting.of_method and not any(name in get_method(method).settings for method in methods):
            raise InputError(
                f"--space {path}: {name} is not used by --method {', '.join(methods)}: leave it out"
            )
        if name in given:
            if what != PAPER.get(name):
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
