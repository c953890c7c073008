"""What an experiment's YAML may say, typed.

title: RoBERTa-base on GLUE            what the table shows
reproduces: table 10                   of the paper; left out for ours
kind: finetune                         finetune (default), bench, sweep, gradients or parameters
models: [roberta-base]
tasks: [cola, rte]
methods: [ft, lora, meprop, sparsegrad]
seeds: [0, 1, 2]
data: hub                              hub (default), demo or a directory; `run --data` goes before it
settings: {epochs: 20, patience: 5}    options of the command of that kind, with underscores
vary: {density: [0.01, 0.05]}          one cell for each value, or each combination of several
cases: [{}, {rank: 3}, {support: block}]  one cell for each; before settings and overrides
overrides:                             of some cells; a later one goes before an earlier one
  - when: {task: [mnli, qqp]}
    set: {batch_size: 32}
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from ..settings import Record

KindName = Literal["finetune", "bench", "sweep", "gradients", "parameters"]
KINDS: tuple[KindName, ...] = get_args(KindName)
Scalar = bool | int | float | str


class When(Record):
    """The cells that an override is for: those that fit every key that is given."""

    model: tuple[str, ...] | str = ()
    task: tuple[str, ...] | str = ()
    method: tuple[str, ...] | str = ()

    def named(self) -> dict[str, tuple[str, ...]]:
        """The keys that are given."""
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
    settings: dict[str, Scalar | list[Scalar] | None] = Field(default_factory=dict)
    vary: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(default_factory=dict)
    cases: tuple[dict[str, Scalar | None], ...] = Field(({},), min_length=1)
    overrides: tuple[Override, ...] = ()
