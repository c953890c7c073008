"""Searches as `sparsegrad sweep` does them: a cell is a study of one method on one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...config import TRAINING_SETTINGS, Pruner, SelectOn
from ...models.checkpoint import fetch_weights, find_checkpoint
from ...settings import Record, Setting, setting, settings_of
from ...store.folder import ResultFolder
from ...sweep.folder import SWEEPS
from ...sweep.plan import plan_studies
from ...sweep.run import run_sweep
from ...sweep.schema import Sweep, SweepConfig
from ...sweep.storage import open_storage, storage_errors
from ...sweep.study import open_study
from ...training.callbacks import Watch
from ...training.resolve import of_method
from ..point import Point
from .base import DONE, TO_CONTINUE, GridCell, How, Outcome, settings_at, status_of


class Options(Record):
    """Settings of the search itself."""

    seed: int = setting("Seed of the sampler and of every trial's run.", off=0, at_least=0)
    trials: int = setting("Trials of each study.", off=20, at_least=1)
    select_on: SelectOn = setting("What selects: dev, or a part held out of train.", off="dev")
    pruner: Pruner = setting("What ends a trial early.", off="median")
    space: str | None = setting("A YAML of what else to search.", off=None)


class Search:
    """See `Kind`."""

    settings: Mapping[str, Setting] = {**TRAINING_SETTINGS, **settings_of(Options)}
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods"})
    needs = frozenset({"tasks", "methods"})
    alone = False

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = settings_at(self, point, device)
        of_search = Options(**{name: given.pop(name) for name in settings_of(Options) if name in given})
        given = of_method(given, point.methods[0])  # an experiment's settings need not be for all its methods
        given |= {"model": point.model, "data": point.data}
        assert point.task is not None
        (config,) = plan_studies(
            given,
            [point.task],
            point.methods,
            of_search.seed,
            of_search.select_on,
            of_search.pruner,
            None if of_search.space is None else Path(of_search.space),
            from_shapes,
        )
        return [
            GridCell(
                id=config.study_id(),
                kind="sweep",
                model=point.model,
                task=config.task,
                method=config.method,
                seed=of_search.seed,
                options={"config": config.model_dump(mode="json"), "trials": of_search.trials},
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
        return DONE if result.finished >= _trials(cell) else TO_CONTINUE

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        config, trials = SweepConfig.model_validate(cell.options["config"]), _trials(cell)
        fetch_weights(find_checkpoint(config.model))
        watch.phase("search", trials)

        def show(sweeps: Sequence[Sweep], workers: int) -> None:
            watch.step(sweeps[0].result.finished)

        with storage_errors():
            study = open_study(open_storage(None, results), config)
            (sweep,) = run_sweep([study], trials, 1, None, results, show, _deaf)
        best = sweep.result.best
        if best is None:
            return Outcome(status="failed", error="no trial came to its end")
        return Outcome(status="done", score_name=config.score_name, score=best.score)


def _trials(cell: GridCell) -> int:
    trials = cell.options["trials"]
    assert isinstance(trials, int)
    return trials


def _deaf(line: str) -> None:
    """What happens to the one worker of a study, the study's own record tells."""


KIND = Search()
