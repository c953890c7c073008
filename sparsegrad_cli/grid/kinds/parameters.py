"""Counts of parameters by part of the model, for table 1: a cell is a model; no weights are fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...models.count import store_counts
from ...models.random import find_architecture
from ...settings import Setting, config_id
from ...store.folder import COUNTS, ResultFolder
from ...store.lock import lock
from ...store.records import CountConfig
from ...training.callbacks import Watch
from ..point import Point
from .base import GridCell, How, Outcome, status_of


class Counts:
    """See `Kind`."""

    settings: Mapping[str, Setting] = {}
    axes: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    alone = False

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        config = CountConfig(model=point.model, architecture=find_architecture(point.model).identity)
        return [GridCell(id=config_id(config), kind="parameters", model=point.model, options={})]

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "parameters" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(COUNTS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        with lock(self.folder(cell, results)):
            store_counts(cell.model, results)
        return Outcome(status="done")


KIND = Counts()
