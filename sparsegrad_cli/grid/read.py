"""An experiment from its YAML; a mistake is told with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydantic

from ..config import METHOD_SETTINGS
from ..errors import InputError, unknown
from ..methods import get_method, method_names
from ..tasks import get_task
from ..yaml_lines import Keys, Lines, Value, read_yaml
from .kinds import Kind, get_kind
from .schema import KINDS, Experiment


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
        for names, place in [
            *((case, ("cases", i)) for i, case in enumerate(experiment.cases)),
            *((override.set, ("overrides", i, "set")) for i, override in enumerate(experiment.overrides)),
            (experiment.vary, ("vary",)),
            (experiment.settings, ("settings",)),
        ]:
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


def _said(error: pydantic.ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    if error["loc"] == ("kind",):
        return f"kind: {unknown('kind', str(error['input']), KINDS)}"
    said = error["msg"].lower().replace("tuple", "list").replace("dictionary", "mapping")
    return f"{name}: {said}"


def _place(where: tuple[int | str, ...]) -> Keys:
    """Without what pydantic puts in for the members of a union."""
    return tuple(part for part in where if isinstance(part, int) or "[" not in part)


def _misspelt(
    place: Keys, given: dict[str, Value], known: Iterable[str], what: str, lines: Lines
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
    named = [(("settings", name), name, experiment.methods) for name in experiment.settings]
    named += [(("vary", name), name, experiment.methods) for name in experiment.vary]
    for number, case in enumerate(experiment.cases):
        named += [(("cases", number, name), name, experiment.methods) for name in case]
    for number, override in enumerate(experiment.overrides):
        methods = override.when.named().get("method", experiment.methods)
        named += [(("overrides", number, "set", name), name, methods) for name in override.set]
    for place, name, methods in named:
        if name in METHOD_SETTINGS and not any(name in _options_of(method) for method in methods):
            yield f"{lines.at(place)}: {name} is not used by {', '.join(methods)}: leave it out"


def _options_of(method: str) -> frozenset[str]:
    return get_method(method).options if method in method_names() else frozenset()


def _wrong_value(place: Keys, name: str, value: Value, kind: Kind, lines: Lines) -> Iterator[str]:
    if name not in kind.settings or value is None:
        return
    try:
        kind.settings[name].check(value)
    except ValueError as error:
        yield f"{lines.at(place)}: {name}: {error}"
