"""Hyperparameters and what is searched of them, in words."""

from __future__ import annotations

from collections.abc import Mapping

from ...sweep.schema import SweepConfig
from ...sweep.space import Range, Space, Value

SHORT = {"learning_rate": "lr", "sparse_learning_rate": "sparse lr", "batch_size": "batch"}
RATES = ("learning_rate", "sparse_learning_rate")


def value_words(name: str, value: Value) -> str:
    """A value alone: `3.05e-05`, `16`, `block`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in RATES:
        return f"{value:.2e}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def parameter_lines(params: Mapping[str, Value]) -> list[str]:
    """A text for each: `lr 3.05e-05`, `batch 16`, `density 0.012`; those two first."""
    ordered = sorted(params, key=lambda name: list(SHORT).index(name) if name in SHORT else len(SHORT))
    return [
        f"{SHORT.get(name, name.replace('_', '-'))} {value_words(name, params[name])}" for name in ordered
    ]


def fixed(config: SweepConfig) -> dict[str, Value]:
    """Learning rate and batch size, of those that are not in the space."""
    both = {"learning_rate": config.template.learning_rate, "batch_size": config.template.batch_size}
    return {name: value for name, value in both.items() if name not in config.space.parameters}


def space_words(config: SweepConfig) -> dict[str, str]:
    """For each hyperparameter of the space, and learning rate and batch size anyway, what it may be."""
    listed = {name: (value,) for name, value in fixed(config).items()} | config.space.parameters
    return {name: f"{name.replace('_', ' ')} {_values(name, what)}" for name, what in listed.items()}


def is_papers(space: Space) -> bool:
    """Whether it is what the paper searched."""
    return space == Space()


def _values(name: str, what: Range | tuple[Value, ...]) -> str:
    if isinstance(what, Range):
        return f"{what.low:g} to {what.high:g}{' (log-uniform)' if what.log else ''}"
    *others, last = [f"{value:g}" if name in RATES else value_words(name, value) for value in what]
    return f"{', '.join(others)} or {last}" if others else last
