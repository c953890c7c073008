"""How a running trial shows that its worker lives, and what becomes of one whose worker died."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

HEARTBEAT = 10  # seconds between two signs of life
GRACE = 60  # seconds without one after which the worker counts as dead
RETRIES = 2  # times that a trial whose worker died is tried again


def retry() -> RetryHeartbeatStaleTrialCallback:
    """What queues such a trial again, with the same parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)


def times_lost(trial: FrozenTrial) -> int:
    """How often a worker died over the trial's earlier attempts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return len(RetryHeartbeatStaleTrialCallback.retry_history(trial))
