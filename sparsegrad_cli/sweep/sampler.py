"""A sampler whose draws depend on the study's seed and the trial's place, not on who asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from .space import Value
from .startup import STARTUP_TRIALS


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
