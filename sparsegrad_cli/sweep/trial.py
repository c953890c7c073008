"""A sweep's worker: it does trials, one after the other, until its studies need no more.

A trial is a run with the sampler's values, which the pruner may end at an evaluation. An interrupted trial is
queued again, and goes on from the run's last checkpoint.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import time
from pathlib import Path

import torch
from optuna import Study, Trial, TrialPruned
from optuna.trial import TrialState

from .. import interrupts
from ..config import ExecutionOptions, RunConfig, Tracker
from ..errors import InputError, WorkError
from ..progress import NoProgress, Progress
from ..settings import Record
from ..store.folder import RUNS
from ..store.io import BusyError, redact
from ..store.records import Result, format_score
from ..training.callbacks import PrunedError
from ..training.inputs import quiet_libraries
from ..training.resolve import Sources
from ..training.run import run
from .plan import plan_trial, sources_of
from .records import SWEEPS, SweepConfig
from .space import suggest
from .storage import open_storage, registered, storage_errors
from .study import (
    OUTCOME,
    REASON,
    RUN,
    WORKER,
    config_of,
    is_settled,
    load_study,
    needs_trial,
    queue_interrupted,
    release_dead,
    sampler_of,
    sign,
)

WAIT_SECONDS = 2.0  # between two looks at what another process is doing
FAILURES = 3  # of trials in a row, after which something else than their values must be wrong
ALREADY_ENDED = "Cannot tell a"  # Optuna's ValueError about a trial that has ended
WHY = {"median": "worse than the median of the others", "hyperband": "not among the best of its bracket"}


class SweepJob(Record):
    """The work of one worker: studies, until they need no more trials."""

    storage: str | None  # as the user named it
    results: str  # the results folder
    studies: tuple[str, ...]  # their names, in the order in which this worker takes them
    token: str  # random: processes in two containers may have one host name and one process id
    report_to: tuple[Tracker, ...] = ()  # that hear of each trial


class SweepJobDone(Record):
    """The answer of a worker: what it did is in the storage."""


def worker_name(token: str, pid: int) -> str:
    """Returns a worker's name in a study."""
    return f"{socket.gethostname()} {pid} {token}"


def work(job: SweepJob, progress: Progress) -> SweepJobDone:
    """Do the trials of a job's studies; a worker pool calls this in a process of its own.

    Raises:
        WorkError: several trials in a row failed, or the storage did.
    """
    quiet_libraries(downloads=False)
    results, name = Path(job.results), worker_name(job.token, os.getpid())
    with interrupts.deferred(), storage_errors():
        storage = open_storage(job.storage, results)
        with registered(storage, name):
            Worker(results, name, job.report_to).work([load_study(storage, study) for study in job.studies])
    return SweepJobDone()


class TrialFailedError(Exception):
    """A trial's run failed, for a reason that is not its hyperparameters'."""


class Worker:
    """Does the trials of studies.

    It is to run in an `interrupts.deferred` block, which it opens where its work may be interrupted: Optuna
    leaves a trial running for ever whose worker is interrupted as it takes the trial, or hands in its score.

    Args:
        results: the results folder.
        name: of this worker in the studies.
        report_to: trackers that hear of each trial's run.
    """

    def __init__(self, results: Path, name: str, report_to: tuple[Tracker, ...] = ()) -> None:
        self._results, self._name = results, name
        self._options = ExecutionOptions(keep_model=False, report_to=report_to)
        self._sources: tuple[str, Sources] | None = None  # of the latest study

    def work(self, studies: list[Study]) -> None:
        """Do trials until no study needs one, nor has one elsewhere that may come back.

        Raises:
            WorkError: several trials in a row failed, for reasons that are not their values'.
        """
        while studies := [study for study in studies if not self._work_on(study)]:
            with interrupts.interruptible():
                time.sleep(WAIT_SECONDS)

    def _work_on(self, study: Study) -> bool:
        """Do the trials that a study needs now; returns whether none is left, here or elsewhere."""
        release_dead(study, alive=self._name)
        while needs_trial(study):
            with interrupts.interruptible():
                self._load_sources(study)
            try:
                study.optimize(self._objective, n_trials=1, catch=(TrialFailedError,))
            except KeyboardInterrupt:
                queue_interrupted(study, self._name)
                raise
            except ValueError as error:  # this worker was thought dead, and another has done the trial
                if not str(error).startswith(ALREADY_ENDED):
                    raise
            self._count_failures(study)
        return is_settled(study)

    def _load_sources(self, study: Study) -> Sources:
        if self._sources is None or self._sources[0] != study.study_name:
            self._sources = None  # free the last study's data first
            config = config_of(study)
            self._sources = (study.study_name, sources_of(config.given, config.select_on))
        return self._sources[1]

    def _objective(self, trial: Trial) -> float:
        """Returns the main metric at the best evaluation of the trial's run.

        Raises:
            TrialPruned: by the pruner, or because the run diverged or ran out of memory; see `OUTCOME`.
            TrialFailedError: the run failed otherwise.
        """
        study = trial.study
        config, sources = config_of(study), self._load_sources(study)
        sign(trial, self._name)
        study.sampler = sampler_of(trial)
        try:
            run_config = plan_trial(sources, config, suggest(trial, config.space))
            trial.set_user_attr(RUN, run_config.run_id())
            result = self._run(trial, config, run_config, sources)
        except (InputError, WorkError) as error:
            trial.set_user_attr(REASON, redact(str(error)))
            raise
        return _score(trial, result)

    def _run(self, trial: Trial, config: SweepConfig, run_config: RunConfig, sources: Sources) -> Result:
        """Returns the result of a trial's run, which an earlier trial with the same values may have done."""
        results = SWEEPS.folder(self._results, config).path
        folder = RUNS.folder(results, run_config)
        reporter = TrialReporter(trial, config, folder.path / "metrics.jsonl")
        planned = sources.plan(run_config, results, reporter, self._options)
        try:
            result = folder.result()
            while result is None or result.status not in ("done", "pruned", "diverged"):
                try:
                    with interrupts.interruptible():
                        result = run(planned)
                    break
                except BusyError:  # a trial with the same values, or a worker that was thought dead
                    with interrupts.interruptible():
                        time.sleep(WAIT_SECONDS)
                    result = folder.result()
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # or this trial's memory could be the next one's out-of-memory
        reporter.report_stored()
        if result.status == "out-of-memory":
            folder.drop_checkpoints()  # the trial counts, so nothing resumes its run
        return result

    def _count_failures(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        last = [trial for trial in trials if trial.user_attrs.get(WORKER) == self._name][-FAILURES:]
        if len(last) == FAILURES and all(trial.state == TrialState.FAIL for trial in last):
            reason = last[-1].user_attrs.get(REASON)
            raise WorkError(f"{FAILURES} trials in a row failed in {study.study_name}: {reason}")


class TrialReporter(NoProgress):
    """Reports each evaluation of a run to the study, and ends the run when the pruner says so."""

    def __init__(self, trial: Trial, config: SweepConfig, metrics: Path) -> None:
        self._trial, self._config, self._metrics = trial, config, metrics
        self._evaluations = 0

    def phase(self, name: str, total: int, done: int = 0) -> None:
        if name == "train":
            self.report_stored()  # from before the checkpoint that the run resumes from

    def evaluated(self, metric: str, value: float, best: float) -> None:
        with interrupts.deferred():
            self._report(value)
            is_pruned = self._trial.should_prune()
        if is_pruned:
            why = WHY[self._config.pruner]
            raise PrunedError(f"evaluation {self._evaluations}: {format_score(metric, best)} at best, {why}")

    def report_stored(self) -> None:
        """Report the evaluations in the run's folder that have not been reported."""
        if not self._metrics.exists():
            return
        entries = map(json.loads, self._metrics.read_text(encoding="utf-8").splitlines())
        scores = [entry["selection"][self._config.score_name] for entry in entries if "selection" in entry]
        with interrupts.deferred():
            for score in scores[self._evaluations :]:
                self._report(score)

    def _report(self, score: float) -> None:
        self._evaluations += 1
        self._trial.report(score, self._evaluations)


def _score(trial: Trial, result: Result) -> float:
    if result.status == "done" and result.selection_score is not None:
        return result.selection_score
    is_done = result.status == "done"
    reason = f"it has no {result.score_name}" if is_done else result.error
    trial.set_user_attr(REASON, reason)
    trial.set_user_attr(OUTCOME, "diverged" if is_done else result.status)
    if result.status == "failed":
        raise TrialFailedError(reason)
    raise TrialPruned(reason)
