"""Runs as `sparsegrad finetune` does them: a cell is one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError
from ...models.checkpoint import fetch_weights
from ...store.folder import RUNS, ResultFolder
from ...store.schema import Result
from ...tasks.load import load_test
from ...training.callbacks import Watch
from ...training.choices import Choices
from ...training.ground import Ground, find_ground
from ...training.params import read_params
from ...training.plan import Plan, of_method, plan_on
from ...training.run import record_failure, run
from ..estimate.planned import Planned
from ..point import Point
from .base import GridCell, How, Outcome, as_json, chosen, from_json, status_of


@dataclass(frozen=True)
class Options(Choices):
    """Those of `finetune`."""

    params: Path | None = None


class Finetune:
    """See `Kind`."""

    options = Options
    given_otherwise = frozenset({"model", "task", "data", "methods", "seeds"})
    axes = frozenset({"task", "method"})
    takes = frozenset({"tasks", "methods", "seeds"})
    needs = frozenset({"tasks", "methods"})
    alone = False

    def __init__(self) -> None:
        self._ground: tuple[tuple[object, ...], Ground] | None = None  # the last one that was asked for
        self._planned: dict[str, Planned] = {}

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        given = {"model": point.model, "task": point.task, "data": point.data}
        options = chosen(self, point, given | {"methods": point.methods, "seeds": point.seeds}, device)
        assert isinstance(options, Options)
        planned = self._plan(options, from_shapes)
        found = []
        for config in planned.configs:
            alone = replace(of_method(options), seeds=(config.seed,))
            cell = GridCell(
                id=config.run_id(),
                kind="finetune",
                model=config.model,
                task=config.task,
                method=config.method,
                seed=config.seed,
                options=as_json(self, alone),
            )
            found.append(cell)
            model = self._ground_of(options, from_shapes).model
            self._planned[cell.id] = Planned.of(config, planned, model)
        return found

    def planned(self, cell: GridCell) -> Planned:
        return self._planned[cell.id]

    def folder(self, cell: GridCell, results: Path) -> Path:
        return results / "runs" / cell.id

    def status(self, cell: GridCell, results: Path) -> str:
        return status_of(ResultFolder(RUNS, self.folder(cell, results)))

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        planned = self._the_same(cell)
        (config,) = planned.configs
        fetch_weights(planned.checkpoint)
        test = load_test(planned.data, config.data) if how.predict_test else None
        of_run = planned.cell(
            config,
            results,
            watch,
            checkpoint_seconds=how.checkpoint_seconds,
            keep_model=how.keep_model,
            accumulate_on_oom=how.accumulate_on_oom,
            test=test,
        )
        return _outcome(run(of_run))

    def give_up(self, cell: GridCell, results: Path, error: str) -> Outcome:
        planned = self._the_same(cell)
        return _outcome(record_failure(planned, planned.configs[0], results, error))

    def _the_same(self, cell: GridCell) -> Plan:
        """The plan of a cell, which comes to the same as when the grid was planned.

        Raises:
            InputError: the model, the data or the device are others by now.
        """
        options = from_json(self, cell)
        assert isinstance(options, Options)
        planned = self._plan(options)
        if [config.run_id() for config in planned.configs] != [cell.id]:
            raise InputError(f"{cell}: model or data are not those that the grid was planned with")
        return planned

    def _plan(self, options: Options, from_shapes: bool = False) -> Plan:
        """The runs of one method.

        Raises:
            InputError: the options are wrong.
        """
        ground = self._ground_of(options, from_shapes)
        if options.params is not None:
            (plan,) = read_params(options.params).plans(of_method(options), ground)
            return plan
        return plan_on(ground, of_method(options))

    def _ground_of(self, options: Options, from_shapes: bool) -> Ground:
        stands_on = ("model", "task", "data", "device", "precision", "basis", "languages", "chat_format")

        key = (from_shapes, *(getattr(options, name) for name in stands_on))
        if self._ground is None or self._ground[0] != key:
            self._ground = None  # the last one's data go before this one's come
            self._ground = (key, find_ground(options, from_shapes))
        return self._ground[1]


def _outcome(result: Result) -> Outcome:
    return Outcome(
        status=result.status,
        error=result.error,
        score_name=result.score_name,
        score=result.score,
        seconds=result.train_seconds,
    )


KIND = Finetune()
