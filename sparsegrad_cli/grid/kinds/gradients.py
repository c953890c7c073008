"""Recordings of gradients through a short training, for figures 2 and 3: a cell is one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from ...gradients.record import GRADIENTS_SETTINGS, Choices, plan, run_gradients
from ...gradients.schema import GRADIENTS
from ...models.checkpoint import fetch_weights
from ...settings import config_id
from ...store.folder import ResultFolder
from ...store.lock import lock
from ...training.callbacks import Watch
from ..point import Point
from .base import GridCell, How, Outcome, settings_at, status_of

CHOICES = TypeAdapter(Choices)


class Recordings:
    """See `Kind`."""

    settings = GRADIENTS_SETTINGS
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks"})
    alone = False

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = settings_at(self, point, device)
        given |= {"method": point.methods[0]} if point.methods else {}
        assert point.task is not None
        options = Choices(model=point.model, task=point.task, data=point.data, **given)
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
                    options=CHOICES.dump_python(of_seed, mode="json"),
                )
            )
        return found

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "gradients" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(GRADIENTS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        config, found = plan(CHOICES.validate_python(cell.options))
        fetch_weights(found.checkpoint)
        with lock(self.folder(cell, results)):
            run_gradients(config, found, results, watch)
        return Outcome(status="done")


KIND = Recordings()
