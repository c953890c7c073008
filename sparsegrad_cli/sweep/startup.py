"""The first trials of a study, before there is anything to learn from: spread evenly over the space."""

from __future__ import annotations

from scipy.stats import qmc

from .space import WHOLE, Range, Space, Value

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
    low, high = what.low, what.high + (1 if name in WHOLE else 0)
    value = low * (high / low) ** u if what.log else low + u * (high - low)
    return int(value) if name in WHOLE else float(value)
