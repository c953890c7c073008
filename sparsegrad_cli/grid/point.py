"""The points of an experiment: model, task and method with the settings that hold there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .schema import Experiment, Override, Scalar

Setting = Scalar | list[Scalar] | None


@dataclass(frozen=True)
class Point:
    """What a kind of experiment makes cells of; where a cell is of several methods, with all of them."""

    model: str
    task: str | None
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    settings: Mapping[str, Setting]  # option -> value
    varied: Mapping[str, Setting]  # those of them that tell it from other points

    def __str__(self) -> str:
        return " ".join([self.model, *([self.task] if self.task else []), *self.methods])


def points(experiment: Experiment, axes: frozenset[str]) -> Iterator[Point]:
    """Every combination, task by task, so that what a task needs is read once.

    Args:
        axes: of "task" and "method", those along which cells differ.
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
        settings: dict[str, Setting] = dict(experiment.settings)
        for override in experiment.overrides:
            if _fits(override, model, task, of_methods[0] if split else None):
                settings |= override.set
        settings |= values
        yield Point(model, task, of_methods, experiment.seeds, experiment.data, settings, values)


def _fits(override: Override, model: str, task: str | None, method: str | None) -> bool:
    here = {"model": model, "task": task, "method": method}
    return all(here[axis] in names for axis, names in override.when.named().items())
