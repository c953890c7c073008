"""The records of a grid: its points, its cells, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from ..settings import Record
from ..store.records import Status

Scalar = bool | int | float | str
SettingValue = Scalar | list[Scalar] | None
DONE, TO_DO, TO_CONTINUE = "done", "to do", "to continue"  # statuses of a cell; others are of its result


@dataclass(frozen=True)
class Point:
    """A point of the grid, of which a kind makes cells: one model, task and method, or several methods."""

    model: str
    task: str | None
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    settings: Mapping[str, SettingValue]  # option -> value
    varied: Mapping[str, SettingValue]  # those of them that `vary` or `cases` set

    def __str__(self) -> str:
        return " ".join([self.model, *([self.task] if self.task else []), *self.methods])


class GridCell(Record):
    """The smallest piece of an experiment's work; equal ids are the same work."""

    id: str
    kind: str
    model: str
    task: str | None = None
    method: str | None = None
    seed: int | None = None
    variant: str = ""  # the settings that tell it from other cells of the experiment, in words
    device: str = "auto"
    config: dict[str, JsonValue]  # what a worker does it from

    def __str__(self) -> str:
        seed = None if self.seed is None else f"seed {self.seed}"
        return " ".join(filter(None, [self.model, self.task, self.method, self.variant, seed]))


class Outcome(Record):
    """What became of a cell."""

    status: Status
    error: str | None = None
    score_name: str | None = None
    score: float | None = None
    seconds: float | None = None
