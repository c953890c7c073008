"""The kinds of experiments: how a kind plans its cells, reads their status and does one.

To add a kind, write a subclass of `Kind`, and add it to `KINDS`. What it needs is imported where it is used:
a worker that fine-tunes need not import Optuna.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bench.config import BENCH_SETTINGS, BENCHES, BenchConfig, write_bench
from ..config import TRAINING_SETTINGS, ExecutionOptions, RunConfig, check_given
from ..errors import InputError
from ..progress import Progress
from ..settings import Record, Setting, config_id, setting, settings_of
from ..store.find import warn_left_out
from ..store.folder import COUNTS, RUNS, ResultFolder, ResultKind
from ..store.lock import lock
from ..store.records import CountConfig, Result
from ..sweep.records import SEARCH_SETTINGS, SWEEPS, SearchSettings, Sweep, SweepConfig
from .cells import DONE, TO_CONTINUE, TO_DO, GridCell, Outcome, Point

if TYPE_CHECKING:
    from ..training.resolve import Sources


def _imported(path: str) -> Any:
    """Returns a property of a class: a constant `module:NAME` of this package, imported when it is used."""
    module, _, name = path.partition(":")
    return cached_property(lambda self: getattr(import_module(f"sparsegrad_cli.{module}"), name))


class Kind(ABC):
    """A kind of experiment."""

    name: str
    settings: Mapping[str, Setting]  # that an experiment may give
    results: ResultKind[Any, Any]  # the result folders of the cells
    axes: frozenset[str] = frozenset()  # "task", "method": whether a cell is of a single one
    takes: frozenset[str] = frozenset()  # "tasks", "methods", "seeds": keys that an experiment may have
    needs: frozenset[str] = frozenset()  # those that it must have
    alone = False  # whether another worker's work would spoil what is measured
    can_estimate = False  # whether `planned` is there

    @abstractmethod
    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        """Returns the cells at a point of the grid.

        Args:
            device: in place of the experiment's.
            from_shapes: a model's directory without weights will do, since nothing of it is to be done.

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
        status = str(getattr(result, "status", DONE))
        return TO_CONTINUE if status == "interrupted" else status

    def planned(self, cell: GridCell) -> tuple[RunConfig, Sources]:
        """Returns a cell's run and what it starts from, without weights."""
        raise NotImplementedError

    def lacks(self, cell: GridCell, results: Path, options: ExecutionOptions) -> bool:
        """Returns whether a cell that is done lacks something that the options ask for.

        Raises:
            InputError: it cannot be had any more.
        """
        return False

    def record_failure(self, cell: GridCell, results: Path, error: str) -> Outcome:
        """Record, where the kind has a record for it, that a cell failed which could not record it itself."""
        return Outcome(status="failed", error=error)

    def given(self, point: Point, device: str | None) -> dict[str, Any]:
        """Returns the settings of a point, in their types."""
        given = {**point.settings, **({} if device is None else {"device": device})}
        try:
            return check_given(given, self.settings)
        except InputError as error:
            raise InputError(f"{point}: {error}") from None


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
    can_estimate = True

    def __init__(self) -> None:
        self._sources: tuple[tuple[object, ...], Sources] | None = None  # those of the last cell

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        from ..training.params import read_params
        from ..training.resolve import of_method, resolve

        given = self.given(point, device)
        params = given.pop("params", None)
        given = of_method(given, point.methods[0])  # an experiment's settings need not be for all its methods
        given |= {"model": point.model, "task": point.task, "data": point.data}
        names = ("model", "task", "data", "device", "basis", "languages", "chat_format")
        key = (from_shapes, *(given.get(name) for name in names))
        sources = self._sources[1] if self._sources and self._sources[0] == key else None
        self._sources = None  # the last one's data go before this one's come
        read = None if params is None else read_params(Path(params))
        configs, sources = resolve(given, point.methods, point.seeds, sources, read, from_shapes)
        self._sources = (key, sources)
        found = []
        for config in configs:
            cell = GridCell(
                id=config.run_id(),
                kind=self.name,
                model=config.model,
                task=config.task,
                method=config.method,
                seed=config.seed,
                device=config.device,
                config=config.model_dump(mode="json"),
            )
            found.append(cell)
        return found

    def planned(self, cell: GridCell) -> tuple[RunConfig, Sources]:
        config = RunConfig.model_validate(cell.config)
        return config, self._sources_of(config, shapes_only=True)

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..models.checkpoint import fetch_weights
        from ..training.run import run

        config = RunConfig.model_validate(cell.config)
        sources = self._sources_of(config)
        fetch_weights(sources.checkpoint)
        return _outcome(run(sources.cell(config, results, progress, options)))

    def lacks(self, cell: GridCell, results: Path, options: ExecutionOptions) -> bool:
        from ..training.predict_test import MODEL, has_test_predictions

        folder = ResultFolder(RUNS, self.folder(cell, results))
        is_kept = (folder.path / MODEL).is_dir()
        sources = self.planned(cell)[1]
        lacks_test = options.predict_test and not has_test_predictions(folder, sources.test)
        for option, is_lacking in (("--save-model", options.keep_model), ("--predict-test", lacks_test)):
            if is_lacking and not is_kept:
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

    def _sources_of(self, config: RunConfig, shapes_only: bool = False) -> Sources:
        """Returns what a run starts from, read again where the last run's was another.

        Raises:
            InputError: it is not what the grid was planned with.
        """
        from ..training.resolve import check_unchanged, sources_of

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


class Search(Kind):
    """Searches as `sparsegrad sweep` does them: a cell is a study of one method on one task."""

    name = "sweep"
    axes = frozenset({"task", "method"})
    takes = needs = frozenset({"tasks", "methods"})
    settings: Mapping[str, Setting] = {**TRAINING_SETTINGS, **SEARCH_SETTINGS}
    results = SWEEPS

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        from ..sweep.plan import plan_studies
        from ..training.resolve import of_method

        given = self.given(point, device)
        search = SearchSettings(**{name: given.pop(name) for name in SEARCH_SETTINGS if name in given})
        given = of_method(given, point.methods[0])
        given |= {"model": point.model, "data": point.data}
        assert point.task is not None
        (config,) = plan_studies(given, [point.task], point.methods, search, from_shapes)
        cell = GridCell(
            id=config.study_id(),
            kind=self.name,
            model=point.model,
            task=config.task,
            method=config.method,
            seed=search.seed,
            device=config.template.device,
            config={"study": config.model_dump(mode="json"), "trials": search.trials},
        )
        return [cell]

    def status(self, cell: GridCell, results: Path) -> str:
        if super().status(cell, results) != DONE:
            return super().status(cell, results)
        result = ResultFolder(self.results, self.folder(cell, results)).result()
        return DONE if result and result.finished >= int(str(cell.config["trials"])) else TO_CONTINUE

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..models.checkpoint import fetch_weights, find_checkpoint
        from ..sweep.run import run_sweep
        from ..sweep.storage import open_storage, storage_errors
        from ..sweep.study import open_study

        config, trials = SweepConfig.model_validate(cell.config["study"]), int(str(cell.config["trials"]))
        fetch_weights(find_checkpoint(config.model))
        progress.phase("search", trials)

        def show(sweeps: Sequence[Sweep], workers: int) -> None:
            progress.step(sweeps[0].result.finished)

        with storage_errors():
            study = open_study(open_storage(None, results), config)
            (sweep,) = run_sweep([study], trials, 1, None, results, show, lambda line: None)
        best = sweep.result.best
        if best is None:
            return Outcome(status="failed", error="no trial came to its end")
        return Outcome(status="done", score_name=config.score_name, score=best.score)


class Bench(Kind):
    """Benchmarks as `sparsegrad bench` does them: a cell is a model on a task, with all methods."""

    name = "bench"
    axes = frozenset({"task"})
    takes = frozenset({"tasks", "methods"})
    alone = True
    settings: Mapping[str, Setting] = BENCH_SETTINGS
    results = BENCHES

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        from ..bench.run import plan_bench

        given = {"model": point.model, "task": point.task, "data": point.data, "methods": point.methods}
        given |= self.given(point, device)
        config, _ = plan_bench(given, from_shapes)
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
        said: list[str] = []

        def tell(line: str) -> None:
            said.append(line)
            progress.step(len(said))

        with lock(self.folder(cell, results)):
            result = run_bench(config, found, results, profile=False, tell=tell)
            write_bench(results, config, result, describe_machine(config))
        failed = [f"{row.name} {row.status} ({row.error})" for row in result.rows if row.status != "done"]
        if len(failed) == len(result.rows):
            return Outcome(status="failed", error="; ".join(failed))
        return Outcome(status="done", error="; ".join(failed) or None)


class Gradients(Kind):
    """Recordings of gradients through a short training, for figures 2 and 3: a cell is one recording."""

    name = "gradients"
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks"})
    settings = _imported("gradients.record:GRADIENTS_SETTINGS")
    results = _imported("gradients.schema:GRADIENTS")

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        from ..gradients.record import plan

        given = {"model": point.model, "task": point.task, "data": point.data, **self.given(point, device)}
        method = point.methods[0] if point.methods else "sparsegrad"
        found = []
        for seed in point.seeds:
            config, _ = plan(given, method, seed, from_shapes)
            cell = GridCell(
                id=config_id(config),
                kind=self.name,
                model=point.model,
                task=config.run.task,
                method=method,
                seed=seed,
                device=config.run.device,
                config=config.model_dump(mode="json"),
            )
            found.append(cell)
        return found

    def do(self, cell: GridCell, results: Path, progress: Progress, options: ExecutionOptions) -> Outcome:
        from ..gradients.record import run_gradients
        from ..gradients.schema import GradientsConfig
        from ..models.checkpoint import fetch_weights
        from ..training.resolve import sources_of

        config = GradientsConfig.model_validate(cell.config)
        sources = sources_of(config.run)
        fetch_weights(sources.checkpoint)
        with lock(self.folder(cell, results)):
            run_gradients(config, sources, results, progress)
        return Outcome(status="done")


class Parameters(Kind):
    """Counts of parameters by part of the model, for table 1: a cell is a model; no weights are fetched."""

    name = "parameters"
    settings: Mapping[str, Setting] = {}
    results = COUNTS

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
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


def get_kind(name: str) -> Kind:
    """Returns the kind of that name, one of `experiment.KIND_NAMES`."""
    return KINDS[name]
