"""A study's budget: a row of numbered slots, each of which ends with exactly one finished trial.

Optuna's `n_trials` counts the trials that one process starts, so that restarts and several machines run too
many. Here the trials are queued beforehand, one a slot, and a worker takes one from the queue, which storage
lets only one do. A trial whose worker died, or was stopped, is queued again in the same slot with the same
parameters. Machines that queue the same slots at once do no harm: of several in a slot, the one of the
lowest number counts.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import optuna
from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.importance import get_param_importances
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from ..config import SETTINGS, Pruner
from . import storage as liveness
from .schema import Sweep, SweepConfig, SweepResult, TrialRecord
from .schema import TrialState as State
from .space import Range, Space, Value
from .storage import times_lost

SLOT = "slot"  # user attributes of a trial
OUTCOME = "outcome"  # a state of `schema.TrialState`, or SPARE
SPARE = "spare"
REASON = "reason"
RUN = "run"  # id of the run
WORKER = "worker"  # see `jobs.worker_name`
SAME_AS = "same as"  # number of the trial whose value it has
CONFIG, ASKED = "config", "asked"  # user attributes of a study
ALIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
# The median of few trials says little, and a first evaluation says little of a slow start.
MEDIAN = {"n_startup_trials": 4, "n_warmup_steps": 2, "n_min_trials": 3}


def open_study(storage: BaseStorage, config: SweepConfig) -> Study:
    """The study of a configuration; it is made where there is none."""
    name = config.study_name()
    if name not in study_names(storage):
        direction = "maximize" if config.greater_is_better else "minimize"
        study = optuna.create_study(
            storage=storage, study_name=name, direction=direction, load_if_exists=True
        )
        study.set_user_attr(CONFIG, config.model_dump_json())
    return load_study(storage, name)


def load_study(storage: BaseStorage, name: str) -> Study:
    """A study that `open_study` has made, with its sampler and pruner."""
    study = optuna.load_study(study_name=name, storage=storage)
    if CONFIG in study.user_attrs:
        config = config_of(study)
        study.sampler = PlacedSampler(config.template.seed)
        study.pruner = _pruner(config.pruner)
    return study


def study_names(storage: BaseStorage) -> list[str]:
    """Those of ours in a storage, in the order in which they were made."""
    studies = sorted(storage.get_all_studies(), key=lambda study: study._study_id)
    return [study.study_name for study in studies if CONFIG in study.user_attrs]


def load_studies(storage: BaseStorage) -> list[Study]:
    """All of ours in a storage."""
    return [load_study(storage, name) for name in study_names(storage)]


def config_of(study: Study) -> SweepConfig:
    """What the study was made for."""
    return SweepConfig.model_validate_json(study.user_attrs[CONFIG])


def asked(study: Study) -> int:
    """The budget: trials in all."""
    return study.user_attrs.get(ASKED, 0)


def top_up(study: Study, trials: int) -> None:
    """Queues a trial for every slot of the first `trials` that has none, or none but failed ones."""
    if trials > asked(study):
        study.set_user_attr(ASKED, trials)
    fail_stale(study)
    slots = attempts(study)
    config = config_of(study)
    first = dict(enumerate(startup_values(config.space, config.template.seed)))
    for slot in range(trials):
        tries = slots[slot]
        if not any(trial.state in ALIVE for trial in tries):
            queue(study, slot, values_of(tries[-1]) if tries else first.get(slot, {}))


def queue(study: Study, slot: int, values: Mapping[str, Value]) -> None:
    """Queues a trial for a slot, with these values; the sampler chooses those that are not given."""
    study.enqueue_trial(dict(values), user_attrs={SLOT: slot})


def values_of(trial: FrozenTrial) -> dict[str, Value]:
    """What a trial was, or would have been, run with; empty where the sampler was still to choose."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


def attempts(study: Study) -> dict[int, list[FrozenTrial]]:
    """The trials of each slot, in the order of their numbers, but for those that proved to be spare."""
    slots: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False):
        if SLOT in trial.user_attrs and trial.user_attrs.get(OUTCOME) != SPARE:
            slots[trial.user_attrs[SLOT]].append(trial)
    return slots


def counting(tries: Sequence[FrozenTrial]) -> FrozenTrial:
    """The attempt that stands for its slot: the first that is alive or finished, else the last."""
    return next((trial for trial in tries if trial.state in ALIVE), tries[-1])


def is_needed(study: Study, trial: Trial) -> bool:
    """Whether a running trial stands for its slot; one that does not is marked as spare."""
    slot = trial.user_attrs.get(SLOT)
    if slot is not None and counting(attempts(study)[slot]).number == trial.number:
        return True
    trial.set_user_attr(OUTCOME, SPARE)
    return False


def is_waiting(study: Study) -> bool:
    """Whether a trial is in the queue."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def is_settled(study: Study) -> bool:
    """Whether no slot is waiting or running."""
    unsettled = (TrialState.WAITING, TrialState.RUNNING)
    return not any(counting(tries).state in unsettled for tries in attempts(study).values())


def fail_stale(study: Study) -> None:
    """Finds running trials whose worker died, and queues them again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)


def release(study: Study, worker: str) -> None:
    """Queues again what a worker that has died was doing, without waiting for its heartbeat to be missed."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(WORKER) == worker:
            try:
                failed = study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # another process has found it
            liveness.retry()(study, failed)


def _pruner(name: Pruner) -> BasePruner:
    match name:
        case "median":
            return MedianPruner(**MEDIAN)
        case "hyperband":
            return HyperbandPruner(min_resource=1, reduction_factor=3)
        case "none":
            return NopPruner()


class PlacedSampler(BaseSampler):
    """TPE, seeded anew for each trial.

    One seed for every worker would let all of them try the same values, a seed for each would let the
    values depend on which worker came first. Here one worker alone tries the same values each time, and
    several differ only in what is known when a trial begins.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tpe = self._seeded(0)

    def _seeded(self, place: int) -> TPESampler:
        seed = int(np.random.SeedSequence([self._seed, place]).generate_state(1)[0])
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._tpe = self._seeded(trial.user_attrs.get("slot", trial.number))
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Value]:
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Value:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._tpe.after_trial(study, trial, state, values)


STARTUP_TRIALS = 6


def startup_values(space: Space, seed: int) -> list[dict[str, Value]]:
    """Values for the first trials, by name: a Latin hypercube.

    Each sixth of a range (of its logarithm, where it is searched so) has one trial in it, which six draws at
    random seldom manage. Methods with the same space and seed begin with the same trials.
    """
    names = list(space.parameters)
    draws = qmc.LatinHypercube(len(names), rng=seed).random(STARTUP_TRIALS)
    return [{name: _value(space, name, u) for name, u in zip(names, row, strict=True)} for row in draws]


def _value(space: Space, name: str, u: float) -> Value:
    """The value at the share `u`, in [0, 1), of a hyperparameter's range or list."""
    what = space.parameters[name]
    if not isinstance(what, Range):
        return what[int(u * len(what))]
    is_whole = SETTINGS[name].is_whole()
    low, high = what.low, what.high + (1 if is_whole else 0)
    value = low * (high / low) ** u if what.log else low + u * (high - low)
    return int(value) if is_whole else float(value)


FEW = 4  # complete trials below which importances say nothing


def snapshot(study: Study) -> Sweep:
    """What was asked of a study and what it has come to; slots that are not queued yet are left out."""
    config = config_of(study)
    slots = attempts(study)
    records = [_record(slots[slot]) for slot in sorted(slots)]
    result = SweepResult(
        id=config.study_id(),
        study=study.study_name,
        asked=max(asked(study), len(records)),
        trials=tuple(records),
        greater_is_better=config.greater_is_better,
        importances=_importances(study),
    )
    return Sweep(config=config, result=result)


def _record(tries: Sequence[FrozenTrial]) -> TrialRecord:
    trial = counting(tries)
    attributes = trial.user_attrs
    state = _state(trial)
    reason = attributes.get(REASON)
    if state == "failed" and reason is None:
        reason = f"its worker died {times_lost(trial) + 1} times"
    return TrialRecord(
        slot=attributes[SLOT],
        number=trial.number,
        state=state,
        params=values_of(trial),
        score=trial.value if state == "complete" else None,
        reason=reason if state not in ("waiting", "running", "complete") else None,
        evaluations={n: score for n, score in trial.intermediate_values.items() if math.isfinite(score)},
        run=attributes.get(RUN),
        worker=attributes.get(WORKER),
        started=_utc(trial.datetime_start),
        ended=_utc(trial.datetime_complete),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        attempts=sum(other.number <= trial.number for other in tries),
        same_as=attributes.get(SAME_AS),
    )


def _state(trial: FrozenTrial) -> State:
    match trial.state:
        case TrialState.WAITING:
            return "waiting"
        case TrialState.RUNNING:
            return "running"
        case TrialState.COMPLETE:
            return "complete"
        case TrialState.PRUNED:
            return trial.user_attrs.get(OUTCOME, "pruned")
        case TrialState.FAIL:
            return "failed"


def _utc(moment: datetime | None) -> str | None:
    """Optuna's moments are of this machine's time zone, and do not say so."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def _importances(study: Study) -> dict[str, float]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    searched = {name for trial in complete for name, what in trial.distributions.items() if not what.single()}
    if len(complete) < FEW or len({trial.value for trial in complete}) < 2 or len(searched) < 2:
        return {}
    return get_param_importances(study, params=sorted(searched))
