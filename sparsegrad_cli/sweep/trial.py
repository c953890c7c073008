"""One trial: a run with the sampler's values, watched by the pruner."""

from __future__ import annotations

import gc
import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from optuna import Study, Trial, TrialPruned
from optuna.trial import FrozenTrial, TrialState

from ..config import ExecutionOptions
from ..errors import WorkError
from ..store.folder import RUNS, RunFolder
from ..store.lock import BusyError
from ..store.records import Result, format_score
from ..training.callbacks import PrunedError
from ..training.resolve import Sources
from ..training.run import run
from ..training.trainer import Cell
from .plan import plan_trial
from .schema import SweepConfig
from .space import Value, suggest
from .study import OUTCOME, REASON, RUN, SAME_AS, SLOT, WORKER, fail_stale, is_needed

TWIN_SECONDS = 2.0  # between two looks at a running trial with the same parameters
BUSY_SECONDS = 2.0  # between two tries at a run that another process holds
WHY = {"median": "worse than the median of the others", "hyperband": "not among the best of its bracket"}


class SpareError(Exception):
    """A trial that no slot needs: another process was quicker."""


class FailedError(Exception):
    """The run of a trial failed for a reason that is not its hyperparameters'."""


@dataclass(frozen=True)
class Objective:
    """What Optuna calls with a trial, and gets the main metric at its best evaluation from."""

    study: Study
    config: SweepConfig
    sources: Sources
    results: Path  # the study's folder; the trial's run goes into `runs/` there
    worker: str  # who does it, in words
    stop: Stop  # where it may be stopped

    def __call__(self, trial: Trial) -> float:
        """Trains the trial's run, or finds that its score is known.

        Raises:
            TrialPruned: by the pruner, or because it diverged or was out of memory; an attribute says which.
            SpareError: it is not needed.
            FailedError: it failed otherwise.
        """
        if not is_needed(self.study, trial):
            raise SpareError(f"trial {trial.number} is not needed")
        trial.set_user_attr(WORKER, self.worker)
        values = suggest(trial, self.config.space)
        twin = _twin(self.study, trial, values, self.stop)
        if twin is not None:
            return _same_as(trial, twin)
        run_config = plan_trial(self.sources, self.config, values)
        trial.set_user_attr(RUN, run_config.run_id())
        watch = TrialWatch(trial, self.config, RUNS.folder(self.results, run_config), self.stop)
        try:
            with self.stop.heeded():
                options = ExecutionOptions(keep_model=False)
                result = _run(self.sources.cell(run_config, self.results, watch, options))
        except WorkError as error:
            trial.set_user_attr(REASON, str(error))
            raise
        if result.status == "out-of-memory":
            watch.folder.drop_checkpoints()  # the trial counts: nothing takes its run up again
        return _score(trial, result)


class TrialWatch:
    """Tells the study each evaluation of a run, and ends the run when the pruner says so."""

    def __init__(self, trial: Trial, config: SweepConfig, folder: RunFolder, stop: Stop) -> None:
        self._trial, self._config, self.folder, self._stop = trial, config, folder, stop
        self._evaluations = 0

    def phase(self, name: str, total: int, done: int = 0) -> None:
        if name == "train":
            with self._stop.put_off():
                for score in self._earlier():
                    self._report(score)

    def step(self, done: int, loss: float | None = None) -> None:
        """Nothing that a study wants to know."""

    def evaluated(self, metric: str, value: float, best: float) -> None:
        with self._stop.put_off():
            self._report(value)
            pruned = self._trial.should_prune()
        if pruned:
            why = WHY[self._config.pruner]
            raise PrunedError(f"evaluation {self._evaluations}: {format_score(metric, best)} at best, {why}")

    def _report(self, score: float) -> None:
        self._evaluations += 1
        self._trial.report(score, self._evaluations)

    def _earlier(self) -> list[float]:
        """Scores from before the checkpoint that the run is taken up from."""
        lines = (self.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        evaluations = [entry["selection"] for entry in map(json.loads, lines) if "selection" in entry]
        return [evaluation[self._config.score_name] for evaluation in evaluations]


def _run(cell: Cell) -> Result:
    try:
        while True:
            try:
                return run(cell)
            except BusyError:  # a worker that was thought dead, and whose trial this was
                time.sleep(BUSY_SECONDS)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what this trial held must not be the next one's out-of-memory


def _score(trial: Trial, result: Result) -> float:
    status, score = result.status, result.selection_score
    if status == "done" and (score is None or not math.isfinite(score)):
        status, reason = "diverged", f"{result.score_name} is {score} at the best evaluation"
    else:
        reason = result.error
    if status == "done":
        assert score is not None
        return score
    trial.set_user_attr(REASON, reason)
    trial.set_user_attr(OUTCOME, status)
    if status == "failed":
        raise FailedError(reason)
    raise TrialPruned(reason)


def _twin(study: Study, trial: Trial, values: dict[str, Value], stop: Stop) -> FrozenTrial | None:
    """A finished trial with the same values; waits for one that another worker has begun."""
    while True:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        others = [
            other
            for other in study.get_trials(deepcopy=False, states=states)
            if other.number != trial.number and other.params == values and SLOT in other.user_attrs
        ]
        finished = next((other for other in others if other.state != TrialState.RUNNING), None)
        if finished or not any(other.number < trial.number for other in others):
            return finished
        with stop.heeded():
            time.sleep(TWIN_SECONDS)
        fail_stale(study)


def _same_as(trial: Trial, twin: FrozenTrial) -> float:
    trial.set_user_attr(SAME_AS, twin.number)
    for step, score in twin.intermediate_values.items():
        trial.report(score, step)
    if twin.state == TrialState.COMPLETE:
        assert twin.value is not None
        return twin.value
    reason = f"as trial {twin.number}: {twin.user_attrs.get(REASON)}"
    trial.set_user_attr(REASON, reason)
    trial.set_user_attr(OUTCOME, twin.user_attrs.get(OUTCOME, "pruned"))
    raise TrialPruned(reason)


class Stop:
    """What SIGINT and SIGTERM do to a worker: they raise KeyboardInterrupt where its work heeds them.

    Elsewhere they wait for the next place that does. Optuna leaves a trial running for ever whose worker is
    interrupted as it takes the trial from the queue, or hands in its score.
    """

    def __init__(self) -> None:
        self._asked = False
        self._heeding = False

    def listen(self) -> None:
        """Takes these signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """A stretch of work that may be cut short."""
        with self._set(heeding=True):
            yield

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """A part of such a stretch that may not."""
        with self._set(heeding=False):
            yield
        self._raise_if_asked()

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        self._raise_if_asked()

    @contextmanager
    def _set(self, heeding: bool) -> Iterator[None]:
        before, self._heeding = self._heeding, heeding
        try:
            self._raise_if_asked()
            yield
        finally:
            self._heeding = before

    def _raise_if_asked(self) -> None:
        if self._asked and self._heeding:
            self._heeding = False  # once: what clears up behind it is not interrupted
            raise KeyboardInterrupt
