"""An Optuna study: its budget, its sampler and pruner, and its state.

A worker starts a trial only while those that are finished, running or queued are fewer than the budget.
Optuna's `MaxTrialsCallback` counts the finished ones alone, and would start W - 1 trials too many with W
workers; here that happens only if several workers look at the same moment, and is the most that can happen.

A trial that was interrupted, or whose worker died, is queued again with its values. Its attempts count as one
trial, whose name is the number of the first attempt.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from optuna import Study, Trial
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.importance import get_param_importances
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from .records import SWEEPS, Sweep, SweepConfig, SweepResult, TrialRecord
from .records import TrialState as State
from .space import STARTUP_TRIALS, startup_values
from .storage import DEATHS, FIRST, Database, has_ended, params_of, queue_again, retry

WORKER = "worker"  # user attributes of a trial: who does it
RUN = "run"  # id of its run
REASON = "reason"  # why it was pruned or failed
OUTCOME = "outcome"  # a state of `records.TrialState`, of a pruned trial
CONFIG, BUDGET = "config", "budget"  # user attributes of a study
ALIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    # the median of few trials says little, and a first evaluation says little of a slow start
    "median": partial(MedianPruner, n_startup_trials=4, n_warmup_steps=2, n_min_trials=3),
    "hyperband": partial(HyperbandPruner, min_resource=1, reduction_factor=3),
    "none": NopPruner,
}
STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
FEW = 4  # complete trials below which importances say nothing


def open_study(storage: BaseStorage, config: SweepConfig) -> Study:
    """Returns the study of a configuration; makes it if there is none."""
    name = config.study_name()
    if name not in study_names(storage):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize" if config.greater_is_better else "minimize",
            load_if_exists=True,
        )
        study.set_user_attr(CONFIG, config.model_dump_json())
    return load_study(storage, name)


def load_study(storage: BaseStorage, name: str) -> Study:
    """Returns a study that `open_study` has made, with its pruner; `sampler_of` makes a trial's sampler."""
    study = optuna.load_study(study_name=name, storage=storage)
    if CONFIG in study.user_attrs:
        study.pruner = PRUNERS[config_of(study).pruner]()
    return study


def study_names(storage: BaseStorage) -> list[str]:
    """Returns the names of our studies in a storage, in the order in which they were made."""
    studies = sorted(storage.get_all_studies(), key=lambda study: study._study_id)
    return [study.study_name for study in studies if CONFIG in study.user_attrs]


def load_studies(storage: BaseStorage) -> list[Study]:
    """Returns our studies in a storage."""
    return [load_study(storage, name) for name in study_names(storage)]


def config_of(study: Study) -> SweepConfig:
    """Returns the configuration that the study was made for."""
    return SweepConfig.model_validate_json(study.user_attrs[CONFIG])


def budget(study: Study) -> int:
    """Returns the number of trials in all that was asked for."""
    return study.user_attrs.get(BUDGET, 0)


def top_up(study: Study, trials: int) -> None:
    """Raise the budget to `trials`, and queue again what failed or was left by workers that died."""
    if trials > budget(study):
        study.set_user_attr(BUDGET, trials)
    release_dead(study)
    for tries in attempts(study).values():
        if all(trial.state == TrialState.FAIL for trial in tries):
            queue_again(study, tries[-1], deaths=0)


def attempts(study: Study) -> dict[int, list[FrozenTrial]]:
    """Returns the trials that count for the budget: first attempt's number -> attempts, in their order.

    A running attempt counts once its worker has signed it: a worker that was killed before leaves an attempt
    that Optuna shows as running for ever.
    """
    found: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING or WORKER in trial.user_attrs:
            found[trial.user_attrs.get(FIRST, trial.number)].append(trial)
    return dict(sorted(found.items()))


def effective(tries: Sequence[FrozenTrial]) -> FrozenTrial:
    """Returns the attempt that stands for its trial: the first that is alive or finished, else the last."""
    return next((trial for trial in tries if trial.state in ALIVE), tries[-1])


def needs_trial(study: Study) -> bool:
    """Returns whether a worker should start a trial: one is queued, or the budget leaves room."""
    trials = attempts(study)
    waiting = any(trial.state == TrialState.WAITING for tries in trials.values() for trial in tries)
    return waiting or len(trials) < budget(study)


def is_settled(study: Study) -> bool:
    """Returns whether the budget is used up and no trial is waiting or running."""
    trials = attempts(study)
    unsettled = (TrialState.WAITING, TrialState.RUNNING)
    is_open = any(effective(tries).state in unsettled for tries in trials.values())
    return not is_open and len(trials) >= budget(study)


def sign(trial: Trial, worker: str) -> None:
    """Record who does a running trial; from now on it counts for the budget."""
    storage = trial.study._storage
    if isinstance(storage, Database):  # Optuna misses no worker that died before its first heartbeat
        storage.record_heartbeat(trial._trial_id)
    trial.set_user_attr(FIRST, trial.user_attrs.get(FIRST, trial.number))
    trial.set_user_attr(WORKER, worker)


def release(study: Study, worker: str) -> None:
    """Queue again what a worker was doing that has died."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(WORKER) == worker:
            try:
                failed = study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # another process was quicker
            retry(study, failed)


def release_dead(study: Study, alive: str = "") -> None:
    """Queue again what workers were doing that have died, on any machine; `alive` is the one that asks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)  # by the heartbeats of a database
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for worker in {trial.user_attrs.get(WORKER, alive) for trial in running} - {alive}:
        if has_ended(study._storage, worker):
            release(study, worker)


def queue_interrupted(study: Study, worker: str) -> None:
    """Queue again the trial over which a worker was interrupted."""
    for tries in attempts(study).values():
        trial = effective(tries)
        is_mine = trial.state == TrialState.FAIL and trial.user_attrs.get(WORKER) == worker
        if is_mine and REASON not in trial.user_attrs:
            queue_again(study, trial, trial.user_attrs.get(DEATHS, 0))


def sampler_of(trial: Trial) -> BaseSampler:
    """Returns the sampler of one trial: TPE, behind a Latin hypercube of the first trials.

    It is seeded by the trial's index in the budget. One seed for every worker would let all of them try the
    same values; a seed for each worker would let the values depend on which worker comes first.
    """
    config, first = config_of(trial.study), trial.user_attrs.get(FIRST, trial.number)
    earlier = trial.study.get_trials(deepcopy=False)[:first]
    index = sum(other.user_attrs.get(FIRST, other.number) == other.number for other in earlier)
    seed = int(np.random.SeedSequence([config.template.seed, index]).generate_state(1)[0])
    tpe = TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    if index >= STARTUP_TRIALS:
        return tpe
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(startup_values(config.space, config.template.seed)[index], tpe)


def snapshot(study: Study, results: Path) -> Sweep:
    """Returns the study's configuration and state, and its folder in a results folder."""
    config = config_of(study)
    return Sweep(SWEEPS.folder(results, config).path, config, study_result(study), recorded=None)


def study_result(study: Study) -> SweepResult:
    """Returns the study's state."""
    config = config_of(study)
    records: list[TrialRecord] = []
    for tries in attempts(study).values():
        record = _record(len(records), tries)
        same = next((r for r in records if r.run == record.run and r.state == record.state), None)
        if record.run is not None and same is not None and record.state in ("complete", "pruned"):
            record = record.model_copy(update={"same_as": same.number})
        records.append(record)
    return SweepResult(
        id=config.study_id(),
        study=study.study_name,
        asked=budget(study),
        trials=tuple(records),
        greater_is_better=config.greater_is_better,
        importances=_importances(study),
    )


def _record(index: int, tries: Sequence[FrozenTrial]) -> TrialRecord:
    trial = effective(tries)
    attributes = trial.user_attrs
    state: State = (
        attributes.get(OUTCOME, "pruned") if trial.state == TrialState.PRUNED else STATES[trial.state]
    )
    reason = attributes.get(REASON)
    if state == "failed" and reason is None:
        reason = f"its worker died {attributes.get(DEATHS, 0) + 1} times"
    return TrialRecord(
        index=index,
        number=trial.number,
        state=state,
        params=params_of(trial),
        score=trial.value if state == "complete" else None,
        reason=reason if state not in ("waiting", "running", "complete") else None,
        evaluations={n: score for n, score in trial.intermediate_values.items() if math.isfinite(score)},
        run=attributes.get(RUN),
        worker=attributes.get(WORKER),
        started=_utc(trial.datetime_start),
        ended=_utc(trial.datetime_complete),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        attempts=sum(other.number <= trial.number for other in tries),
    )


def _utc(moment: datetime | None) -> str | None:
    """Returns a moment of Optuna's, which is in this machine's time zone without saying so."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def _importances(study: Study) -> dict[str, float]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    searched = {name for trial in complete for name, what in trial.distributions.items() if not what.single()}
    if len(complete) < FEW or len({trial.value for trial in complete}) < 2 or len(searched) < 2:
        return {}
    return get_param_importances(study, params=sorted(searched))
