"""Benchmarks of a model of the paper, in groups that may be compared."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ...bench.folder import Bench
from ...bench.schema import BenchConfig, BenchResult, Row
from ...paper import GLUE, same_model
from ..bench.caption import device_words
from .setting import RANKS, is_one_percent, kept_share

MEAN = "avg"
OF_TASK = {"task", "data", "data_revision", "model"}
HOW_MEASURED = {"rows", "rounds", "steps", "burn_in", "seed", "calibration_steps"}


@dataclass(frozen=True)
class Costs:
    """Benchmarks of one model, shape of batch and machine."""

    benches: tuple[Bench, ...]
    rows: dict[tuple[str, str | None], Row]  # name of the row and task (None: random tokens) -> measured

    @property
    def tasks(self) -> set[str | None]:
        """What was measured."""
        return {task for _, task in self.rows}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows."""
        return tuple(dict.fromkeys(name for name, _ in self.rows))

    def speed(self, name: str, task: str | None) -> float | None:
        """Steps per second; of `MEAN` over the eight tasks, None unless all were measured."""
        return _mean([row and row.steps_per_second for row in self._found(name, task)])

    def memory(self, name: str, task: str | None) -> float | None:
        """Peak in MB; of `MEAN` likewise."""
        sizes = [row and row.peak_memory_bytes for row in self._found(name, task)]
        return _mean([size and size / 1e6 for size in sizes])

    def _found(self, name: str, task: str | None) -> list[Row | None]:
        return [self.rows.get((name, each)) for each in (GLUE if task == MEAN else (task,))]


def find_costs(benches: Sequence[Bench], family: str) -> list[Costs]:
    """The benchmarks of whole models in the paper's setting, those together that may be compared."""
    alike: dict[str, list[Bench]] = defaultdict(list)
    for bench in benches:
        if isinstance(bench.config, BenchConfig) and _is_papers(bench.config, family):
            shape = bench.config.model_dump(exclude=OF_TASK | HOW_MEASURED)
            machine = device_words(bench.environment, bench.config.device)
            alike[json.dumps([machine, shape], sort_keys=True)].append(bench)
    return [Costs(tuple(found), _rows(found)) for _, found in sorted(alike.items())]


def _is_papers(config: BenchConfig, family: str) -> bool:
    share = kept_share({"density": config.density, "kept": config.kept}, family)
    return (
        same_model(config.model, family)
        and config.layers is None
        and not config.freeze_rest
        and config.basis_rank is None
        and config.data != "demo"  # synthetic
        and config.rank in (None, RANKS[family])
        and (share is None or is_one_percent(share))
    )


def _rows(benches: Sequence[Bench]) -> dict[tuple[str, str | None], Row]:
    return {
        (row.name, bench.config.task): row
        for bench in benches
        if isinstance(bench.result, BenchResult)
        for row in bench.result.rows
        if row.status == "done"
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
