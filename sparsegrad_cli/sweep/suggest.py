"""From a space to a trial's values."""

from __future__ import annotations

from optuna.trial import Trial

from .space import WHOLE, Range, Space, Value


def suggest(trial: Trial, space: Space) -> dict[str, Value]:
    """A value of each hyperparameter, by the study's sampler."""
    values: dict[str, Value] = {}
    for name, what in space.parameters.items():
        if not isinstance(what, Range):
            values[name] = trial.suggest_categorical(name, what)
        elif name in WHOLE:
            values[name] = trial.suggest_int(name, int(what.low), int(what.high), log=what.log)
        else:
            values[name] = trial.suggest_float(name, what.low, what.high, log=what.log)
    return values
