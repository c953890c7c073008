"""From what a user asked for to studies, checked before anything is trained."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from ..errors import InputError
from ..methods import get_method
from ..store.io import write_error, write_text
from ..store.lock import lock
from ..store.names import Pruner, SelectOn
from ..tasks.splits import hold_out
from ..training.choices import Choices
from ..training.ground import Ground, find_ground
from ..training.option_checks import check_options
from ..training.params import Best, Params
from ..training.plan import Plan, of_method, plan_on
from .folder import WRITE_SECONDS, read_sweeps, sweep_folder
from .schema import Sweep, SweepConfig
from .space import ALWAYS, PAPER, Space, Value, read_space


def ground_of(choices: Choices, select_on: SelectOn, from_shapes: bool = False) -> Ground:
    """What the trials stand on; with a part of train in place of dev where that selects."""
    ground = find_ground(choices, from_shapes)
    return replace(ground, data=hold_out(ground.data)) if select_on == "holdout" else ground


def plan_study(
    ground: Ground, choices: Choices, select_on: SelectOn, pruner: Pruner, space: Space
) -> SweepConfig:
    """The study of one method: what it has no use for, of options and of the space, is left out.

    Args:
        choices: of one seed.

    Raises:
        InputError: a value in the space does not fit the model or the other options.
    """
    (method,) = choices.methods
    choices = of_method(choices)
    space = space.used_by(get_method(method).options)
    for values in space.corners():
        try:
            planned = _plan(ground, choices, select_on, values)
        except InputError as error:
            raise InputError(f"the space, {_words(values)}: {error}") from None
    return SweepConfig(
        choices=choices,
        select_on=select_on,
        pruner=pruner,
        space=space,
        template=planned.configs[0],
        checkpoint=ground.checkpoint.identity,
        score_name=ground.data.task.score_name,
        data=ground.data.record(),
    )


def plan_trial(ground: Ground, config: SweepConfig, values: Mapping[str, Value]) -> Plan:
    """The one run of a trial.

    Raises:
        InputError: model, data or device are no longer what the study was made for.
    """
    planned = _plan(ground, config.choices, config.select_on, values)
    (run,) = planned.configs
    for what in ("model_revision", "data_revision", "device"):
        was, now = getattr(config.template, what), getattr(run, what)
        if was != now:
            name = what.replace("_", " ")
            raise InputError(f"{config.study_name()} was made for {name} {was}, here it is {now}")
    return planned


def plan_studies(
    choices: Choices,
    tasks: Sequence[str],
    select_on: SelectOn,
    pruner: Pruner,
    space: Path | None,
    from_shapes: bool = False,
) -> list[SweepConfig]:
    """A study of each method on each task.

    Args:
        choices: of every method and one seed; the task is not read. What is given there is not searched.
        space: a YAML, see `read_space`.
        from_shapes: see `find_ground`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    check_options(choices)
    searched = _searched(choices, read_space(space), space)
    configs = []
    for task in dict.fromkeys(tasks):
        of_task = replace(choices, task=task)
        ground = ground_of(of_task, select_on, from_shapes)
        for method in dict.fromkeys(choices.methods):
            config = plan_study(ground, replace(of_task, methods=[method]), select_on, pruner, searched)
            configs.append(config)
    return configs


def _searched(choices: Choices, space: Space, path: Path | None) -> Space:
    """The space without what an option fixes.

    Raises:
        InputError: the user gave both a value and a range, or a range that no method has a use for.
    """
    parameters = dict(space.parameters)
    for name in space.parameters:
        flag = f"--{name.replace('_', '-')}"
        if name not in ALWAYS and not any(name in get_method(method).options for method in choices.methods):
            methods = ", ".join(choices.methods)
            raise InputError(f"--space {path}: {name} is not used by --method {methods}: leave it out")
        if getattr(choices, name) is not None:
            if space.parameters[name] != PAPER.get(name):
                raise InputError(f"{flag} fixes what --space {path} searches: leave one of them out")
            del parameters[name]
    if not parameters:
        raise InputError("nothing is left to search: --learning-rate and --batch-size fix it; see --space")
    return Space(parameters=parameters)


def _plan(ground: Ground, choices: Choices, select_on: SelectOn, values: Mapping[str, Value]) -> Plan:
    protocol = "paper" if select_on == "holdout" else choices.protocol
    return plan_on(ground, replace(choices, protocol=protocol, **values))


def _words(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


SEEDS = (0, 1, 2)  # the paper's number of them
SAID_ELSEWHERE = ("model", "data", "task", "methods", "seeds")


def finetune_command(config: SweepConfig, best: Path, results: Path) -> str:
    """`sparsegrad finetune` with the study's options, its best parameters and three seeds."""
    choices = config.choices
    (method,) = choices.methods
    words = ["--model", choices.model, "--data", choices.data, "--task", choices.task, "--method", method]
    for field in dataclasses.fields(Choices):
        value = getattr(choices, field.name)
        if field.name not in (*SAID_ELSEWHERE, *config.space.parameters) and value != field.default:
            words += _option(field.name, value)
    words += ["--params", str(best)]
    for seed in SEEDS:
        words += ["--seed", str(seed)]
    if results != Path("results"):
        words += ["--output", str(results)]
    return shlex.join(["sparsegrad", "finetune", *words])


def _option(name: str, value: bool | float | str | Path | tuple[str, ...]) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, tuple):  # languages
        return [word for code in value for word in (flag.removesuffix("s"), code)]
    if isinstance(value, bool):
        return [flag if value else "--train-rest"]  # the only one that has a name for its opposite
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]


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
        params=Params(**best.params),
        score_name=config.score_name,
        score=best.score,
        select_on=config.select_on,
        protocol=config.choices.protocol,
        trials=sweep.result.finished,
        study=sweep.result.id,
    )


def _write(path: Path, entries: Iterable[Best]) -> None:
    plain = [entry.model_dump(exclude_none=True) for entry in entries]
    try:
        write_text(path, HEADER + yaml.safe_dump(plain, sort_keys=False))
    except OSError as error:
        raise write_error(path, error) from None
