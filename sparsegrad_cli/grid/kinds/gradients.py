"""Recordings of gradients through a short training, for figures 2 and 3: a cell is one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...gradients.record import Choices, plan, run_gradients
from ...gradients.schema import GRADIENTS
from ...models.checkpoint import fetch_weights
from ...settings import config_id
from ...store.folder import ResultFolder
from ...store.lock import lock
from ...training.callbacks import Watch
from ..point import Point
from .base import GridCell, How, Outcome, as_json, chosen, from_json, status_of


class Recordings:
    """See `Kind`."""

    options = Choices
    given_otherwise = frozenset({"model", "task", "data", "method", "seed"})
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks"})
    alone = False

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = {"model": point.model, "task": point.task, "data": point.data}
        of_method = {"method": point.methods[0]} if point.methods else {}
        options = chosen(self, point, given | of_method, device)
        assert isinstance(options, Choices)
        found = []
        for seed in point.seeds:
            of_seed = replace(options, seed=seed)
            config, _ = plan(of_seed, from_shapes)
            found.append(
                GridCell(
                    id=config_id(config),
                    kind="gradients",
                    model=point.model,
                    task=config.run.task,
                    method=config.run.method,
                    seed=seed,
                    options=as_json(self, of_seed),
                )
            )
        return found

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "gradients" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(GRADIENTS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        options = from_json(self, cell)
        assert isinstance(options, Choices)
        config, found = plan(options)
        fetch_weights(found.checkpoint)
        with lock(self.folder(cell, results)):
            run_gradients(config, found, results, watch)
        return Outcome(status="done")


KIND = Recordings()
