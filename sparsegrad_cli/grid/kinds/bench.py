"""Benchmarks as `sparsegrad bench` does them: a cell is a model on a task, all its methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...bench.folder import STEPS, write_bench
from ...bench.plan import Choices, plan
from ...bench.run import run_bench
from ...settings import config_id
from ...store.environment import describe_environment
from ...store.folder import ResultFolder
from ...store.lock import lock
from ...training.callbacks import Watch
from ..point import Point
from .base import GridCell, How, Outcome, as_json, chosen, from_json, status_of


class Bench:
    """See `Kind`."""

    options = Choices
    given_otherwise = frozenset({"model", "task", "data", "methods"})
    axes = frozenset({"task"})
    takes = frozenset({"tasks", "methods"})
    needs: frozenset[str] = frozenset()
    alone = True

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = {"model": point.model, "task": point.task, "data": point.data, "methods": point.methods}
        options = chosen(self, point, given, device)
        assert isinstance(options, Choices)
        config, _ = plan(options, from_shapes)
        return [
            GridCell(
                id=config_id(config),
                kind="bench",
                model=point.model,
                task=point.task,
                options=as_json(self, options),
            )
        ]

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "bench" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(STEPS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        options = from_json(self, cell)
        assert isinstance(options, Choices)
        config, found = plan(options)
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
