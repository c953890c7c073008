"""Runs as `sparsegrad finetune` does them: a cell is one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...config import TRAINING_SETTINGS, RunConfig
from ...models.checkpoint import fetch_weights
from ...settings import Record, Setting, setting, settings_of
from ...store.folder import RUNS, ResultFolder
from ...store.records import Result
from ...tasks.load import load_test
from ...training.callbacks import Watch
from ...training.params import read_params
from ...training.resolve import Sources, check_unchanged, of_method, resolve, sources_of
from ...training.run import record_failure, run
from ..point import Point
from .base import GridCell, How, Outcome, settings_at, status_of


class Options(Record):
    """Settings besides those of a run."""

    params: str | None = setting("A best.yaml of sparsegrad sweep, or a YAML of settings.", off=None)


class Finetune:
    """See `Kind`."""

    settings: Mapping[str, Setting] = {**TRAINING_SETTINGS, **settings_of(Options)}
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks", "methods"})
    alone = False

    def __init__(self) -> None:
        self._sources: tuple[tuple[object, ...], Sources] | None = None  # those of the last cell

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = settings_at(self, point, device)
        params = given.pop("params", None)
        given = of_method(given, point.methods[0])  # an experiment's settings need not be for all its methods
        given |= {"model": point.model, "task": point.task, "data": point.data}
        names = ("model", "task", "data", "device", "basis", "languages", "chat_format")
        key = (from_shapes, *(given.get(name) for name in names))
        sources = self._sources[1] if self._sources and self._sources[0] == key else None
        self._sources = None  # the last one's data go before this one's come
        configs, sources = resolve(
            given,
            point.methods,
            point.seeds,
            sources,
            params=None if params is None else read_params(Path(params)),
            shapes_only=from_shapes,
        )
        self._sources = (key, sources)
        found = []
        for config in configs:
            cell = GridCell(
                id=config.run_id(),
                kind="finetune",
                model=config.model,
                task=config.task,
                method=config.method,
                seed=config.seed,
                options=config.model_dump(mode="json"),
            )
            found.append(cell)
        return found

    def planned(self, cell: GridCell) -> tuple[RunConfig, Sources]:
        config = RunConfig.model_validate(cell.options)
        return config, self._sources_of(config, shapes_only=True)

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "runs" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(RUNS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        config = RunConfig.model_validate(cell.options)
        sources = self._sources_of(config)
        fetch_weights(sources.checkpoint)
        of_run = sources.cell(
            config,
            results,
            watch,
            checkpoint_seconds=how.checkpoint_seconds,
            keep_model=how.keep_model,
            accumulate_on_oom=how.accumulate_on_oom,
            test=load_test(sources.data, config.data) if how.predict_test else None,
        )
        return _outcome(run(of_run))

    def give_up(self, cell: GridCell, results: Path, error: str) -> Outcome:
        config = RunConfig.model_validate(cell.options)
        return _outcome(record_failure(config, self._sources_of(config), results, error))

    def _sources_of(self, config: RunConfig, shapes_only: bool = False) -> Sources:
        """What a run starts from, read anew where the last run's was another.

        Raises:
            InputError: it is not what the grid was planned with.
        """
        names = ("model", "task", "task_file", "data", "basis", "languages", "chat_format")
        key = (shapes_only, *(getattr(config, name) for name in names))
        if self._sources is None or self._sources[0] != key:
            self._sources = None  # the last one's data go before this one's come
            self._sources = (key, sources_of(config, shapes_only))
        else:
            check_unchanged(config, self._sources[1])
        return self._sources[1]


def _outcome(result: Result) -> Outcome:
    return Outcome(
        status=result.status,
        error=result.error,
        score_name=result.score_name,
        score=result.score,
        seconds=result.train_seconds,
    )


KIND = Finetune()
