"""Experiments: finding one, reading its YAML, and the points of its grid. What a YAML may say:

title: RoBERTa-base on GLUE            what the table shows
reproduces: table 10                   of the paper; left out for ours
kind: finetune                         finetune (default), bench, sweep, gradients or parameters
models: [roberta-base]
tasks: [cola, rte]
methods: [ft, lora, meprop, sparsegrad]
seeds: [0, 1, 2]
data: hub                              hub (default), demo or a directory; `run --data` overrides it
settings: {epochs: 20, patience: 5}    options of the command of that kind, with underscores
vary: {density: [0.01, 0.05]}          one cell for each value, or each combination of several
cases: [{}, {rank: 3}, {mask: block}]  one cell for each; override settings and overrides
overrides:                             for some of the cells; a later one overrides an earlier one
  - when: {task: [mnli, qqp]}
    set: {batch_size: 32}

Every mistake in a file is reported with its line, all of them at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import pydantic
from pydantic import Field
from pydantic_core import ErrorDetails

from ..config import METHOD_SETTINGS
from ..errors import InputError, unknown
from ..methods import get_method, method_names
from ..settings import Record
from ..tasks import get_task
from ..yaml_lines import Keys, Lines, read_yaml
from .cells import Point, Scalar, SettingValue
from .kinds import Kind, get_kind

PACKAGE = Path(__file__).resolve().parents[1]
KindName = Literal["finetune", "bench", "sweep", "gradients", "parameters"]
KIND_NAMES: tuple[KindName, ...] = get_args(KindName)


class When(Record):
    """The cells that an override is for: those that match every key that is given."""

    model: tuple[str, ...] | str = ()
    task: tuple[str, ...] | str = ()
    method: tuple[str, ...] | str = ()

    def named(self) -> dict[str, tuple[str, ...]]:
        """Returns the keys that are given."""
        given = {axis: getattr(self, axis) for axis in type(self).model_fields}
        return {axis: (names,) if isinstance(names, str) else names for axis, names in given.items() if names}


class Override(Record):
    """Settings for some of the cells."""

    when: When
    set: dict[str, Scalar | None]


class Experiment(Record):
    """A grid of cells."""

    title: str
    reproduces: str | None = None
    kind: KindName = "finetune"
    models: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    data: str = "hub"
    settings: dict[str, SettingValue] = Field(default_factory=dict)
    vary: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(default_factory=dict)
    cases: tuple[dict[str, Scalar | None], ...] = Field(({},), min_length=1)
    overrides: tuple[Override, ...] = ()


def experiment_folder() -> Path:
    """Returns the folder of our experiments: in a wheel inside the package, in a checkout beside it."""
    inside = PACKAGE / "experiments"
    return inside if inside.is_dir() else PACKAGE.parent / "experiments"


def experiment_files() -> list[Path]:
    """Returns the files of our experiments, table 9 before table 10."""
    return sorted(experiment_folder().glob("*.yaml"), key=lambda path: _in_order(path.stem))


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def find_experiment(name: str) -> Path:
    """Returns a file, or our experiment of that name.

    Raises:
        InputError: there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = {file.stem: file for file in experiment_files()}
    stem = path.stem if path.suffix in (".yaml", ".yml") else name
    if stem in known and (path.parent == Path() or path.parent.name == "experiments"):
        return known[stem]
    raise InputError(f"{unknown('experiment', name, known)} (or the path of your own .yaml)")


@dataclass(frozen=True)
class ReadExperiment:
    """An experiment, and where it says what."""

    experiment: Experiment
    lines: Lines

    @property
    def path(self) -> Path:
        return self.lines.path

    def about(self, message: str) -> str:
        """A complaint about a cell, with the line of the first setting that it names."""
        experiment = self.experiment
        places: list[tuple[Iterable[str], Keys]] = [
            *((case, ("cases", i)) for i, case in enumerate(experiment.cases)),
            *((override.set, ("overrides", i, "set")) for i, override in enumerate(experiment.overrides)),
            (experiment.vary, ("vary",)),
            (experiment.settings, ("settings",)),
        ]
        for names, place in places:
            for name in names:
                if f"--{name.replace('_', '-')}" in message:
                    return f"{self.lines.at((*place, name))}: {message}"
        return f"{self.path}: {message}"


def read_experiment(path: Path) -> ReadExperiment:
    """Reads and checks all that can be checked without a model or data.

    Raises:
        InputError: every mistake that was found, each with its line.
    """
    read, lines = read_yaml(path)
    if not isinstance(read, dict):
        raise InputError(f"{lines.at(())}: an experiment is a mapping, such as `title: ...`, `models: [...]`")
    mistakes = list(_misspelt((), read, Experiment.model_fields, "key", lines))
    if not mistakes:
        try:
            experiment = Experiment.model_validate(read)
        except pydantic.ValidationError as error:
            mistakes = [f"{lines.at(_place(e['loc']))}: {_said(e)}" for e in error.errors()]
        else:
            mistakes = list(_mistakes(experiment, get_kind(experiment.kind), lines))
    if mistakes:
        raise InputError("; ".join(dict.fromkeys(mistakes)))
    return ReadExperiment(experiment, lines)


def _said(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    if error["loc"] == ("kind",):
        return f"kind: {unknown('kind', str(error['input']), KIND_NAMES)}"
    said = error["msg"].lower().replace("tuple", "list").replace("dictionary", "mapping")
    return f"{name}: {said}"


def _place(where: tuple[int | str, ...]) -> Keys:
    """Without what pydantic puts in for the members of a union."""
    return tuple(part for part in where if isinstance(part, int) or "[" not in part)


def _misspelt(
    place: Keys, given: Iterable[str], known: Iterable[str], what: str, lines: Lines
) -> Iterator[str]:
    names = list(known)
    for name in given:
        if name not in names:
            yield f"{lines.at((*place, name))}: {unknown(what, str(name), names)}"


def _mistakes(experiment: Experiment, kind: Kind, lines: Lines) -> Iterator[str]:
    yield from _wrong_axes(experiment, kind, lines)
    fields = set(kind.settings)
    option = f"option of {experiment.kind}"
    settings, vary = dict(experiment.settings), {name: list(v) for name, v in experiment.vary.items()}
    yield from _misspelt(("settings",), settings, sorted(fields), option, lines)
    yield from _misspelt(("vary",), vary, sorted(fields), option, lines)
    yield from _unused(experiment, lines)
    for name, value in settings.items():
        yield from _wrong_value(("settings", name), name, value, kind, lines)
        if name in vary:
            yield f"{lines.at(('vary', name))}: {name} is in settings too: leave one out"
    for name, values in vary.items():
        for position, value in enumerate(values):
            yield from _wrong_value(("vary", name, position), name, value, kind, lines)
    for number, case in enumerate(experiment.cases):
        yield from _misspelt(("cases", number), dict(case), sorted(fields), option, lines)
        for name, value in case.items():
            yield from _wrong_value(("cases", number, name), name, value, kind, lines)
    for number, override in enumerate(experiment.overrides):
        place = ("overrides", number)
        yield from _misspelt((*place, "set"), dict(override.set), sorted(fields), option, lines)
        for name, value in override.set.items():
            yield from _wrong_value((*place, "set", name), name, value, kind, lines)
            if name in vary:
                yield f"{lines.at((*place, 'set', name))}: {name} is in vary too: leave one out"
        for axis, names in override.when.named().items():
            if axis != "model" and axis not in kind.axes:
                message = f"a cell of {experiment.kind} is of no single {axis}"
                yield f"{lines.at((*place, 'when', axis))}: {message}"
                continue
            for name in names:
                if name not in getattr(experiment, f"{axis}s"):
                    message = unknown(f"{axis} of this experiment", name, getattr(experiment, f"{axis}s"))
                    yield f"{lines.at((*place, 'when', axis))}: {message}"


def _wrong_axes(experiment: Experiment, kind: Kind, lines: Lines) -> Iterator[str]:
    for name in ("tasks", "methods", "seeds"):
        given = name in experiment.model_fields_set
        if given and name not in kind.takes:
            yield f"{lines.at((name,))}: {experiment.kind} has no use for {name}: leave them out"
        if name in kind.needs and not getattr(experiment, name):
            yield f"{lines.at(())}: {experiment.kind} needs {name}"
    for position, seed in enumerate(experiment.seeds):
        if seed < 0:
            yield f"{lines.at(('seeds', position))}: a seed is 0 or more, got {seed}"
    for position, method in enumerate(experiment.methods):
        if method not in method_names():
            yield f"{lines.at(('methods', position))}: {unknown('method', method, method_names())}"
    for position, task in enumerate(experiment.tasks):
        try:
            get_task(task)
        except InputError as error:
            yield f"{lines.at(('tasks', position))}: {str(error).removeprefix('--task: ')}"


def _unused(experiment: Experiment, lines: Lines) -> Iterator[str]:
    """Settings that none of the methods uses that they are for."""
    if experiment.kind not in ("finetune", "sweep"):
        return
    named: list[tuple[Keys, str, Sequence[str]]] = [
        (("settings", name), name, experiment.methods) for name in experiment.settings
    ]
    named += [(("vary", name), name, experiment.methods) for name in experiment.vary]
    for number, case in enumerate(experiment.cases):
        named += [(("cases", number, name), name, experiment.methods) for name in case]
    for number, override in enumerate(experiment.overrides):
        methods: Sequence[str] = override.when.named().get("method", experiment.methods)
        named += [(("overrides", number, "set", name), name, methods) for name in override.set]
    for place, name, methods in named:
        if name in METHOD_SETTINGS and not any(name in _options_of(method) for method in methods):
            yield f"{lines.at(place)}: {name} is not used by {', '.join(methods)}: leave it out"


def _options_of(method: str) -> frozenset[str]:
    return get_method(method).settings if method in method_names() else frozenset()


def _wrong_value(place: Keys, name: str, value: object, kind: Kind, lines: Lines) -> Iterator[str]:
    if name not in kind.settings or value is None:
        return
    try:
        kind.settings[name].check(value)
    except ValueError as error:
        yield f"{lines.at(place)}: {name}: {error}"


def points(experiment: Experiment, axes: frozenset[str]) -> Iterator[Point]:
    """Returns every combination, task by task, so that what a task needs is read once.

    Args:
        axes: "task", "method": those along which cells differ.
    """
    tasks = experiment.tasks or (None,) if "task" in axes else (None,)
    split = "method" in axes and bool(experiment.methods)
    methods = [(method,) for method in experiment.methods] if split else [experiment.methods]
    varied = [
        {**dict(zip(experiment.vary, values, strict=True)), **case}
        for values in itertools.product(*experiment.vary.values())
        for case in experiment.cases
    ]
    for model, task, of_methods, values in itertools.product(experiment.models, tasks, methods, varied):
        settings: dict[str, SettingValue] = dict(experiment.settings)
        for override in experiment.overrides:
            if _fits(override, model, task, of_methods[0] if split else None):
                settings |= override.set
        settings |= values
        yield Point(model, task, of_methods, experiment.seeds, experiment.data, settings, values)


def _fits(override: Override, model: str, task: str | None, method: str | None) -> bool:
    here = {"model": model, "task": task, "method": method}
    return all(here[axis] in names for axis, names in override.when.named().items())
