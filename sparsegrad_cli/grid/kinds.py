"""The kinds of experiments: how a kind plans its cells, reads their status and does one.

To add a kind, write a subclass of `Kind` and add it to `KINDS`. What it needs is imported where it is used:
a worker that fine-tunes need not import Optuna.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from ..bench.config import BENCH_SETTINGS, BENCHES, BenchConfig, write_bench
from ..config import TRAINING_SETTINGS, ExecutionOptions, Given, RunConfig, check_given
from ..errors import InputError
from ..gradients.schema import GRADIENTS, GRADIENTS_SETTINGS, GradientsConfig
from ..progress import Progress
from ..settings import Record, Setting, config_id, setting, settings_of
from ..store.folder import COUNTS, RUNS, ResultFolder, ResultKind, warn_left_out
from ..store.io import lock
from ..store.records import CountConfig, Result, Status
from ..sweep.records import SEARCH_SETTINGS, SWEEPS, SearchSettings, Sweep, SweepConfig

if TYPE_CHECKING:
    from ..training.resolve import Sources

Scalar = bool | int | float | str
SettingValue = Scalar | list[Scalar] | None
DONE, TO_DO, TO_CONTINUE = "done", "to do", "to continue"  # statuses of a cell; others are of its result


@dataclass(frozen=True)
class GridPoint:
    """A point of the grid, of which a kind makes cells: one model, task and method, or several methods."""

    model: str
    task: str | None
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    settings: Mapping[str, SettingValue]  # option -> value
    varied: Mapping[str, SettingValue]  # those of them that `vary` or `cases` set

    def __str__(self) -> str:
        return " ".join(filter(None, [self.model, self.task, *self.methods]))


class GridCell(Record):
    """The smallest piece of an experiment's work; equal ids are the same work."""

    id: str
    kind: str
    model: str
    task: str | None = None
    method: str | None = None
    seed: int | None = None
    variant: str = ""  # settings in which it differs from other cells of the experiment
    device: str = "auto"
    config: dict[str, JsonValue]  # what a worker does it from

    @property
    def row(self) -> str:
        """Its name without the seed: cells of one row of a table share it."""
        return " ".join(filter(None, [self.model, self.task, self.method, self.variant]))

    def __str__(self) -> str:
        return self.row if self.seed is None else f"{self.row} seed {self.seed}"


class Outcome(Record):
    """How a cell ended."""

    status: Status
    error: str | None = None
    score_name: str | None = None
    score: float | None = None
    seconds: float | None = None


class Kind(ABC):
    """A kind of experiment."""

    name: str
    settings: Mapping[str, Setting]  # that an experiment may give
    results: ResultKind[Any, Any]  # the result folders of the cells
    axes: frozenset[str] = frozenset()  # "task", "method": whether a cell is of a single one
    takes: frozenset[str] = frozenset()  # "tasks", "methods", "seeds": keys that an experiment may have
    needs: frozenset[str] = frozenset()  # those that it must have
    alone = False  # whether another worker's work would spoil what is measured

    @abstractmethod
    def cells(self, point: GridPoint, given: Given, shapes_only: bool) -> Sequence[GridCell]:
        """Returns the cells at a point of the grid.

        Args:
            given: the settings of the point in their types, model and data among them.
            shapes_only: a model's directory without weights will do, since nothing of it is to be done.

        Raises:
            InputError: model, data or settings are not what they should be.
        """

    @abstractmethod
    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        """Do a cell, or the rest of it.

        Raises:
            BusyError: another process does it.
            DiskError: no file can be written.
            InputError, WorkError: it cannot be done.
        """

    def folder(self, cell: GridCell, results: Path) -> Path:
        """Returns the folder of a cell's files."""
        return results / self.results.place / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        """Returns DONE, TO_DO, TO_CONTINUE, or the status that the cell ended with.

        A cell whose result cannot be read is named in a warning, and counts as failed.
        """
        folder = ResultFolder(self.results, self.folder(cell, results))
        try:
            result = folder.result()
        except InputError as error:
            warn_left_out(error)
            return "failed"
        if result is None:
            return TO_CONTINUE if self.results is RUNS and (folder.path / "config.json").exists() else TO_DO
        status = getattr(result, "status", DONE)
        return TO_CONTINUE if status == "interrupted" else status

    def lacks(self, cell: GridCell, results: Path, options: ExecutionOptions) -> bool:
        """Returns whether a cell that is done lacks something that the options ask for.

        Raises:
            InputError: it cannot be had any more.
        """
        return False

    def record_failure(self, cell: GridCell, results: Path, error: str) -> Outcome:
        """Record, where the kind has a record for it, that a cell failed which could not record it itself."""
        return Outcome(status="failed", error=error)

    def given(self, point: GridPoint, device: str | None) -> dict[str, Any]:
        """Returns the settings of a point in their types, model, task and data among them.

        Args:
            device: in place of the experiment's, where the kind has use for one.
        """
        instead = {"device": device} if device is not None and "device" in self.settings else {}
        given = check_given({**point.settings, **instead}, self.settings) | {
            "model": point.model,
            "data": point.data,
        }
        return given if point.task is None else {**given, "task": point.task}

    def cell_of(self, id: str, run: RunConfig, config: Record) -> GridCell:
        """Returns the cell of a run, or of work that is done with runs like it.

        Args:
            config: what a worker does it from.
        """
        axes = {name: getattr(run, name) for name in ("model", "task", "method", "seed", "device")}
        return GridCell(id=id, kind=self.name, config=config.model_dump(mode="json"), **axes)


class ParamsOption(Record):
    """A setting of `finetune` besides those of a run."""

    params: str | None = setting("A best.yaml of sparsegrad sweep, or a YAML of settings.", off=None)


class Finetune(Kind):
    """Runs as `sparsegrad finetune` does them: a cell is one run."""

    name = "finetune"
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks", "methods"})
    settings: Mapping[str, Setting] = {**TRAINING_SETTINGS, **settings_of(ParamsOption)}
    results = RUNS

    def __init__(self) -> None:
        self._last: tuple[tuple[object, ...], Sources] | None = None  # what the last cell's run starts from

    def cells(self, point: GridPoint, given: Given, shapes_only: bool) -> Sequence[GridCell]:
        from ..training.params import read_params
        from ..training.resolve import of_method, resolve

        settings = dict(given)
        params = settings.pop("params", None)
        settings = of_method(
            settings, point.methods[0]
        )  # an experiment's settings need not suit all its methods
        read = None if params is None else read_params(Path(params))
        configs, _ = resolve(settings, point.methods, point.seeds, self._sources(settings, shapes_only), read)
        return [self.cell_of(config.run_id(), config, config) for config in configs]

    def planned(self, cell: GridCell, shapes_only: bool = True) -> tuple[RunConfig, Sources]:
        """Returns a cell's run and what it starts from.

        Raises:
            InputError: that is not what the grid was planned with.
        """
        from ..training.resolve import check_unchanged, given_of

        config = RunConfig.model_validate(cell.config)
        sources = self._sources(given_of(config), shapes_only)
        check_unchanged(config, sources)
        return config, sources

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..models.checkpoint import fetch_weights
        from ..training.run import run

        config, sources = self.planned(cell, shapes_only=False)
        fetch_weights(sources.checkpoint)
        return _outcome(run(sources.plan(config, results, progress, options)))

    def lacks(self, cell: GridCell, results: Path, options: ExecutionOptions) -> bool:
        from ..training.export import ADAPTER_FOLDER
        from ..training.predict_test import MODEL, has_test_predictions

        folder = ResultFolder(RUNS, self.folder(cell, results))
        is_kept = (folder.path / MODEL).is_dir()
        sources = self.planned(cell)[1]
        lacks_test = options.predict_test and not has_test_predictions(folder, sources.test)
        has_adapter = is_kept or (folder.path / ADAPTER_FOLDER).is_dir()
        for option, is_lacking in (
            ("--save model", options.keep_model and not is_kept),
            ("--save adapter", options.keep_adapter and not has_adapter),
            ("--predict-test", lacks_test and not is_kept),
        ):
            if is_lacking:
                raise InputError(
                    f"{option}: {folder.path} is finished and its model was not kept: delete that folder, or "
                    f"give another --output, and the run is done again; or leave {option} out"
                )
        return lacks_test

    def record_failure(self, cell: GridCell, results: Path, error: str) -> Outcome:
        from ..training.run import record_failure

        config, sources = self.planned(cell)
        if RUNS.folder(results, config).is_done():  # only what was to be added to it failed
            return Outcome(status="failed", error=error)
        return _outcome(record_failure(config, sources, results, error))

    def _sources(self, given: Given, shapes_only: bool) -> Sources:
        """Returns what a run starts from, found again only where the last cell's run started from another."""
        from ..training.resolve import find_sources

        names = ("model", "task", "data", "device", "basis", "languages", "chat_format")
        key = (shapes_only, *(given.get(name) for name in names))
        if self._last is None or self._last[0] != key:
            self._last = None  # the last one's data go before this one's come
            self._last = (key, find_sources(given, shapes_only))
        return self._last[1]


def _outcome(result: Result) -> Outcome:
    return Outcome(
        status=result.status,
        error=result.error,
        score_name=result.score_name,
        score=result.score,
        seconds=result.train_seconds,
    )


class StudyCell(Record):
    """The `config` of a cell of a search."""

    study: SweepConfig
    trials: int


class Search(Kind):
    """Searches as `sparsegrad sweep` does them: a cell is a study of one method on one task."""

    name = "sweep"
    axes = frozenset({"task", "method"})
    takes = needs = frozenset({"tasks", "methods"})
    settings: Mapping[str, Setting] = {**TRAINING_SETTINGS, **SEARCH_SETTINGS}
    results = SWEEPS

    def cells(self, point: GridPoint, given: Given, shapes_only: bool) -> Sequence[GridCell]:
        from ..sweep.plan import plan_studies
        from ..training.resolve import of_method

        search = SearchSettings(**{name: given[name] for name in SEARCH_SETTINGS if name in given})
        of_run = {name: value for name, value in given.items() if name not in SEARCH_SETTINGS}
        of_run = of_method(of_run, point.methods[0])
        (config,) = plan_studies(of_run, [given["task"]], point.methods, search, shapes_only)
        study = StudyCell(study=config, trials=search.trials)
        return [self.cell_of(config.study_id(), config.template, study)]

    def status(self, cell: GridCell, results: Path) -> str:
        status = super().status(cell, results)
        if status != DONE:
            return status
        result = ResultFolder(SWEEPS, self.folder(cell, results)).result()
        asked = StudyCell.model_validate(cell.config).trials
        return DONE if result is not None and result.finished >= asked else TO_CONTINUE

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..models.checkpoint import fetch_weights, find_checkpoint
        from ..sweep.run import run_sweep
        from ..sweep.storage import open_storage, storage_errors
        from ..sweep.study import open_study

        asked = StudyCell.model_validate(cell.config)
        fetch_weights(find_checkpoint(asked.study.model))
        progress.phase("search", asked.trials)

        def show(sweeps: Sequence[Sweep], workers: int) -> None:
            progress.step(sweeps[0].result.finished)

        with storage_errors():
            study = open_study(open_storage(None, results), asked.study)
            (sweep,) = run_sweep([study], asked.trials, 1, None, results, show, lambda line: None)
        best = sweep.result.best
        if best is None:
            return Outcome(status="failed", error="no trial came to its end")
        return Outcome(status="done", score_name=asked.study.score_name, score=best.score)


class Bench(Kind):
    """Benchmarks as `sparsegrad bench` does them: a cell is a model on a task, with all methods."""

    name = "bench"
    axes = frozenset({"task"})
    takes = frozenset({"tasks", "methods"})
    alone = True
    settings: Mapping[str, Setting] = BENCH_SETTINGS
    results = BENCHES

    def cells(self, point: GridPoint, given: Given, shapes_only: bool) -> Sequence[GridCell]:
        from ..bench.run import plan_bench

        config, _ = plan_bench({"methods": point.methods, **given}, shapes_only)
        cell = GridCell(
            id=config_id(config),
            kind=self.name,
            model=point.model,
            task=point.task,
            device=config.device,
            config=config.model_dump(mode="json"),
        )
        return [cell]

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..bench.run import describe_machine, run_bench
        from ..bench.target import target_of

        config = BenchConfig.model_validate(cell.config)
        found = target_of(config)
        progress.phase("measure", 2 + len(config.rows) * config.rounds)
        lines: list[str] = []

        def tell(line: str) -> None:
            lines.append(line)
            progress.step(len(lines))

        with lock(self.folder(cell, results)):
            result = run_bench(config, found, results, profile=False, tell=tell)
            write_bench(results, config, result, describe_machine(config))
        failed = [f"{row.name} {row.status} ({row.error})" for row in result.rows if row.status != "done"]
        status: Status = "failed" if len(failed) == len(result.rows) else "done"
        return Outcome(status=status, error="; ".join(failed) or None)


class Gradients(Kind):
    """Recordings of gradients through a short training, for figures 2 and 3: a cell is one recording."""

    name = "gradients"
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks"})
    settings: Mapping[str, Setting] = GRADIENTS_SETTINGS
    results = GRADIENTS

    def cells(self, point: GridPoint, given: Given, shapes_only: bool) -> Sequence[GridCell]:
        from ..gradients.record import plan

        method = point.methods[0] if point.methods else "sparsegrad"
        planned = [plan(given, method, seed, shapes_only)[0] for seed in point.seeds]
        return [self.cell_of(config_id(config), config.run, config) for config in planned]

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..gradients.record import run_gradients
        from ..models.checkpoint import fetch_weights
        from ..training.resolve import check_unchanged, find_sources, given_of

        config = GradientsConfig.model_validate(cell.config)
        sources = find_sources(given_of(config.run))
        check_unchanged(config.run, sources)
        fetch_weights(sources.checkpoint)
        with lock(self.folder(cell, results)):
            run_gradients(config, sources, results, progress)
        return Outcome(status="done")


class Parameters(Kind):
    """Counts of parameters by part of the model, for table 1: a cell is a model; no weights are fetched."""

    name = "parameters"
    settings: Mapping[str, Setting] = {}
    results = COUNTS

    def cells(self, point: GridPoint, given: Given, shapes_only: bool) -> Sequence[GridCell]:
        from ..models.random import find_architecture

        config = CountConfig(model=point.model, architecture=find_architecture(point.model).identity)
        return [GridCell(id=config_id(config), kind=self.name, model=point.model, config={})]

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..models.count import store_counts

        with lock(self.folder(cell, results)):
            store_counts(cell.model, results)
        return Outcome(status="done")


KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (Finetune(), Bench(), Search(), Gradients(), Parameters())
}
