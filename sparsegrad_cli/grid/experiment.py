"""Experiments: find one, read its YAML, expand its grid. What a YAML may say:

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
  - when: {method: ft}
    vary: {density: [0.1]}             in place of the values above

Every mistake in a file is reported with its line, all of them at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from ..config import METHOD_SETTINGS
from ..errors import InputError, unknown
from ..methods import get_method, is_method, method_names
from ..settings import Record
from ..tasks import get_task
from ..yaml_lines import Keys, Lines, read_yaml
from .kinds import KINDS, GridPoint, Kind, Scalar, SettingValue

PACKAGE = Path(__file__).resolve().parents[1]


Values = Annotated[tuple[Scalar, ...], Field(min_length=1)]


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
    """Settings for some of the cells, and settings along which those vary."""

    when: When
    set: dict[str, Scalar | None] = Field(default_factory=dict)
    vary: dict[str, Values] = Field(default_factory=dict)


class Experiment(Record):
    """A grid of cells."""

    title: str
    reproduces: str | None = None
    kind: str = "finetune"
    models: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    data: str = "hub"
    settings: dict[str, SettingValue] = Field(default_factory=dict)
    vary: dict[str, Values] = Field(default_factory=dict)
    cases: tuple[dict[str, Scalar | None], ...] = Field(({},), min_length=1)
    overrides: tuple[Override, ...] = ()

    def given(self) -> Iterator[tuple[Keys, str, Sequence[SettingValue], Sequence[str]]]:
        """Yields every setting with the keys that lead to it, its name, its values and the methods it is for.

        Those that go before others come first.
        """
        for number, case in enumerate(self.cases):
            for name, value in case.items():
                yield ("cases", number, name), name, [value], self.methods
        for number, override in enumerate(self.overrides):
            methods = override.when.named().get("method", self.methods)
            for name, value in override.set.items():
                yield ("overrides", number, "set", name), name, [value], methods
            for name, values in override.vary.items():
                yield ("overrides", number, "vary", name), name, values, methods
        for name, values in self.vary.items():
            yield ("vary", name), name, values, self.methods
        for name, setting in self.settings.items():
            yield ("settings", name), name, [setting], self.methods


def experiment_files() -> list[Path]:
    """Returns the files of our experiments, table 9 before table 10.

    In a wheel they lie inside the package, in a checkout beside it.
    """
    inside = PACKAGE / "experiments"
    folder = inside if inside.is_dir() else PACKAGE.parent / "experiments"
    return sorted(folder.glob("*.yaml"), key=lambda path: _in_order(path.stem))


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
        """Returns a message about a cell with the line of the first setting that it names."""
        for keys, name, _, _ in self.experiment.given():
            if f"--{name.replace('_', '-')}" in message:
                return f"{self.lines.at(keys)}: {message}"
        return f"{self.path}: {message}"


def read_experiment(path: Path) -> ReadExperiment:
    """Read an experiment, and check all that can be checked without a model or data.

    Raises:
        InputError: every mistake that was found, each with its line.
    """
    read, lines = read_yaml(path)
    if not isinstance(read, dict):
        raise InputError(f"{lines.at(())}: an experiment is a mapping, such as `title: ...`, `models: [...]`")
    known = Experiment.model_fields
    mistakes = [f"{lines.at((key,))}: {unknown('key', str(key), known)}" for key in read if key not in known]
    if not mistakes:
        try:
            experiment = Experiment.model_validate(read)
            mistakes = [f"{lines.at(keys)}: {message}" for keys, message in _mistakes(experiment)]
        except pydantic.ValidationError as error:
            mistakes = [_invalid(each["loc"], each["msg"], lines) for each in error.errors()]
    if mistakes:
        raise InputError("; ".join(dict.fromkeys(mistakes)))
    return ReadExperiment(experiment, lines)


def _invalid(place: tuple[int | str, ...], message: str, lines: Lines) -> str:
    """Returns a complaint of pydantic in the words of YAML."""
    keys = tuple(part for part in place if isinstance(part, int) or "[" not in part)  # no members of a union
    name = ".".join(part for part in place if isinstance(part, str))
    message = message.lower().replace("tuple", "list").replace("dictionary", "mapping")
    return f"{lines.at(keys)}: {name}: {message}"


def _mistakes(experiment: Experiment) -> Iterator[tuple[Keys, str]]:
    """Yields what is wrong, with the keys that lead to it."""
    if experiment.kind not in KINDS:
        yield ("kind",), f"kind: {unknown('kind', experiment.kind, KINDS)}"
        return
    kind = KINDS[experiment.kind]
    yield from _wrong_axes(experiment, kind)
    yield from _wrong_settings(experiment, kind)
    for number, override in enumerate(experiment.overrides):
        if not override.set and not override.vary:
            yield ("overrides", number), "an override has a set or a vary"
        for axis, names in override.when.named().items():
            keys, known = ("overrides", number, "when", axis), getattr(experiment, f"{axis}s")
            if axis != "model" and axis not in kind.axes:
                yield keys, f"a cell of {kind.name} is of no single {axis}"
                continue
            for name in names:
                if name not in known:
                    yield keys, unknown(f"{axis} of this experiment", name, known)


def _wrong_axes(experiment: Experiment, kind: Kind) -> Iterator[tuple[Keys, str]]:
    for name in ("tasks", "methods", "seeds"):
        if name in experiment.model_fields_set and name not in kind.takes:
            yield (name,), f"{kind.name} has no use for {name}: leave them out"
        if name in kind.needs and not getattr(experiment, name):
            yield (), f"{kind.name} needs {name}"
    for position, seed in enumerate(experiment.seeds):
        if seed < 0:
            yield ("seeds", position), f"a seed is 0 or more, got {seed}"
    for position, method in enumerate(experiment.methods):
        if not is_method(method):
            yield ("methods", position), unknown("method", method, method_names())
    for position, task in enumerate(experiment.tasks):
        try:
            get_task(task)
        except InputError as error:
            yield ("tasks", position), str(error).removeprefix("--task: ")


def _wrong_settings(experiment: Experiment, kind: Kind) -> Iterator[tuple[Keys, str]]:
    """Settings that the kind does not have, that no method uses, that are given twice or wrong."""
    for keys, name, values, methods in experiment.given():
        if name not in kind.settings:
            yield keys, unknown(f"option of {kind.name}", name, sorted(kind.settings))
            continue
        if name in METHOD_SETTINGS and "methods" in kind.needs:
            known = [method for method in methods if is_method(method)]
            if not any(name in get_method(method).settings for method in known):
                yield keys, f"{name} is not used by {', '.join(methods)}: leave it out"
        if keys[0] == "vary" and name in experiment.settings:
            yield keys, f"{name} is in settings too: leave one out"
        if "set" in keys and name in itertools.chain(
            experiment.vary, *(o.vary for o in experiment.overrides)
        ):
            yield keys, f"{name} is in vary too: leave one out"
        for position, value in enumerate(values):
            try:
                if value is not None:
                    kind.settings[name].check(value)
            except ValueError as error:
                yield (*keys, position) if "vary" in keys else keys, f"{name}: {error}"


def expand_grid(experiment: Experiment, axes: frozenset[str]) -> Iterator[GridPoint]:
    """Yields every combination, task by task, so that what a task needs is read once.

    Args:
        axes: "task", "method": those along which cells differ.
    """
    tasks = experiment.tasks or (None,) if "task" in axes else (None,)
    split = "method" in axes and bool(experiment.methods)
    methods = [(method,) for method in experiment.methods] if split else [experiment.methods]
    for model, task, of_methods in itertools.product(experiment.models, tasks, methods):
        here = {"model": model, "task": task, "method": of_methods[0] if split else None}
        settings: dict[str, Any] = dict(experiment.settings)
        vary = dict(experiment.vary)
        for override in experiment.overrides:
            if all(here[axis] in names for axis, names in override.when.named().items()):
                settings |= override.set
                vary |= override.vary
        for values, case in itertools.product(itertools.product(*vary.values()), experiment.cases):
            varied = {**dict(zip(vary, values, strict=True)), **case}
            yield GridPoint(
                model, task, of_methods, experiment.seeds, experiment.data, settings | varied, varied
            )
