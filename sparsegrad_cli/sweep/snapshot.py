"""A study as it stands, in our own terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from optuna import Study
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from .liveness import times_lost
from .schema import Sweep, SweepResult, TrialRecord
from .schema import TrialState as State
from .study import (
    OUTCOME,
    REASON,
    RUN,
    SAME_AS,
    SLOT,
    WORKER,
    asked,
    attempts,
    config_of,
    counting,
    values_of,
)

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
