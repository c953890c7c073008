"""Searches as `sparsegrad sweep` does them: a cell is a study of one method on one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from ...models.checkpoint import fetch_weights, find_checkpoint
from ...store.folder import ResultFolder
from ...store.names import Pruner, SelectOn
from ...sweep.folder import SWEEPS
from ...sweep.plan import plan_studies
from ...sweep.run import run_sweep
from ...sweep.schema import Sweep, SweepConfig
from ...sweep.storage import open_storage, storage_errors
from ...sweep.study import open_study
from ...training.callbacks import Watch
from ...training.choices import Choices
from ..point import Point
from .base import DONE, TO_CONTINUE, GridCell, How, Outcome, as_json, chosen, from_json, status_of


@dataclass(frozen=True)
class Options(Choices):
    """Those of `sweep`."""

    seed: NonNegativeInt = 0
    trials: PositiveInt = 20
    select_on: SelectOn = "dev"
    pruner: Pruner = "median"
    space: Path | None = None


class Search:
    """See `Kind`."""

    options = Options
    given_otherwise = frozenset({"model", "task", "data", "methods", "seeds"})
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods"})
    needs = frozenset({"tasks", "methods"})
    alone = False

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = {"model": point.model, "task": point.task, "data": point.data, "methods": point.methods}
        options = chosen(self, point, given, device)
        assert isinstance(options, Options)
        config = _config(options, from_shapes)
        return [
            GridCell(
                id=config.study_id(),
                kind="sweep",
                model=point.model,
                task=config.task,
                method=config.method,
                seed=options.seed,
                options=as_json(self, options),
            )
        ]

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "sweeps" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        folder = ResultFolder(SWEEPS, self.folder(cell, results))
        status = status_of(folder)
        result = folder.result() if status == DONE else None
        if result is None:
            return status
        options = from_json(self, cell)
        assert isinstance(options, Options)
        return DONE if result.finished >= options.trials else TO_CONTINUE

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        options = from_json(self, cell)
        assert isinstance(options, Options)
        config = _config(options)
        fetch_weights(find_checkpoint(options.model))
        watch.phase("search", options.trials)

        def show(sweeps: Sequence[Sweep], workers: int) -> None:
            watch.step(sweeps[0].result.finished)

        with storage_errors():
            study = open_study(open_storage(None, results), config)
            (sweep,) = run_sweep([study], options.trials, 1, None, results, show, _deaf)
        best = sweep.result.best
        if best is None:
            return Outcome(status="failed", error="no trial came to its end")
        return Outcome(status="done", score_name=config.score_name, score=best.score)


def _config(options: Options, from_shapes: bool = False) -> SweepConfig:
    choices = Choices(**{name: getattr(options, name) for name in Choices.__dataclass_fields__})
    of_seed = replace(choices, seeds=[options.seed])
    (config,) = plan_studies(
        of_seed, [options.task], options.select_on, options.pruner, options.space, from_shapes
    )
    return config


def _deaf(line: str) -> None:
    """What happens to the one worker of a study, the study's own record tells."""


KIND = Search()
