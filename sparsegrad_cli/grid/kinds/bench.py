"""Benchmarks as `sparsegrad bench` does them: a cell is a model on a task, all its methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from ...bench.folder import STEPS, write_bench
from ...bench.plan import BENCH_SETTINGS, Choices, plan
from ...bench.run import run_bench
from ...settings import config_id
from ...store.environment import describe_environment
from ...store.folder import ResultFolder
from ...store.lock import lock
from ...training.callbacks import Watch
from ..point import Point
from .base import GridCell, How, Outcome, settings_at, status_of

CHOICES = TypeAdapter(Choices)


class Bench:
    """See `Kind`."""

    settings = BENCH_SETTINGS
    axes = frozenset({"task"})
    takes = frozenset({"tasks", "methods"})
    needs: frozenset[str] = frozenset()
    alone = True

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = settings_at(self, point, device)
        options = Choices(model=point.model, task=point.task, data=point.data, methods=point.methods, **given)
        config, _ = plan(options, from_shapes)
        return [
            GridCell(
                id=config_id(config),
                kind="bench",
                model=point.model,
                task=point.task,
                options=CHOICES.dump_python(options, mode="json"),
            )
        ]

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "bench" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(STEPS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        config, found = plan(CHOICES.validate_python(cell.options))
        with lock(self.folder(cell, results)):
            told = 0

            def tell(line: str) -> None:
                nonlocal told
                told += 1
                watch.step(told)

            watch.phase("measure", 2 + len(config.rows) * config.rounds)
            result = run_bench(config, found, results, profile=False, tell=tell)
            data = f"sha256:{config.data_revision}" if config.data_revision else "random tokens"
            write_bench(results, config, result, describe_environment(config.checkpoint, data, restarts=0))
        failed = [f"{row.name} {row.status} ({row.error})" for row in result.rows if row.status != "done"]
        if len(failed) == len(result.rows):
            return Outcome(status="failed", error="; ".join(failed))
        return Outcome(status="done", error="; ".join(failed) or None)


KIND = Bench()
