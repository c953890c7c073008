"""The search space: hyperparameters of a run, each with a range or a list of values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from ..config import SETTINGS
from ..errors import InputError, unknown
from ..settings import Record, Setting
from ..yaml_lines import read_yaml

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = bool | int | float | str
SEARCHABLE = {name: setting for name, setting in SETTINGS.items() if setting.is_searchable}


class Range(Record):
    """The numbers from `low` to `high`, both included; `log`: searched on a logarithmic scale."""

    low: int | float
    high: int | float
    log: bool = False


PAPER: dict[str, Range | tuple[Value, ...]] = {
    "learning_rate": Range(low=1e-6, high=1e-1, log=True),
    "batch_size": (8, 16, 32),
}


class Space(Record):
    """Names of hyperparameters, as in a run's configuration, to what is searched of each.

    The default is the paper's (section 5.1): a learning rate of 1e-6 to 1e-1 on a logarithmic scale, and a
    batch size of 8, 16 or 32.
    """

    parameters: dict[str, Range | tuple[Value, ...]] = pydantic.Field(default_factory=lambda: dict(PAPER))

    def used_by(self, settings: frozenset[str]) -> Space:
        """Returns the space of a method with these `settings`, without those of other methods."""
        used = {
            name: what
            for name, what in self.parameters.items()
            if name in settings or not SETTINGS[name].of_method
        }
        return Space(parameters=used)

    def extremes(self) -> list[dict[str, Value]]:
        """Returns each parameter's extreme values, one at a time beside the lowest of the others."""
        ends = {
            name: [what.low, what.high] if isinstance(what, Range) else list(what)
            for name, what in self.parameters.items()
        }
        lowest = {name: values[0] for name, values in ends.items()}
        return [{**lowest, name: value} for name, values in ends.items() for value in values]


def read_space(path: Path | None) -> Space:
    """Returns the paper's space with what a YAML file changes or adds; None: no file.

    The file maps names to a list of values, to one value, or to `{low, high, log}`:

        batch_size: [16, 32]
        density: {low: 0.002, high: 0.05, log: true}

    Raises:
        InputError: the file is missing or not such a mapping, or a range cannot be searched.
    """
    if path is None:
        return Space()
    parameters = dict(PAPER)
    try:
        read, lines = read_yaml(path)
    except InputError as error:
        raise InputError(f"--space {error}") from None
    if not isinstance(read, dict) or not read:
        raise InputError(f"--space {path}: not a mapping of names to values, such as batch_size: [16, 32]")
    for name, what in read.items():
        line = lines.at((name,))
        if name not in SEARCHABLE:
            raise InputError(f"--space {line}: {unknown('hyperparameter', name, SEARCHABLE)}")
        try:
            parameters[name] = _parameter(SEARCHABLE[name], what)
        except ValueError as error:
            raise InputError(f"--space {line}: {name}: {error}") from None
    if "density" in read and "kept" in read:
        raise InputError(f"--space {path}: density and kept set the same number: search one of them")
    return Space(parameters=parameters)


def _parameter(setting: Setting, what: object) -> Range | tuple[Value, ...]:
    if not isinstance(what, dict):
        values = tuple(what) if isinstance(what, list) else (what,)
        if not values or len(set(values)) < len(values):
            raise ValueError("give one value or several different ones")
        return tuple(setting.check(value) for value in values)
    if not setting.is_number():
        raise ValueError("is not a number: give a list of values")
    try:
        found = Range.model_validate(what)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        example = "{low: 1, high: 2, log: false}"
        raise ValueError(f"{where}: {problem['msg']}; a range is {example}") from None
    low, high = setting.check(found.low), setting.check(found.high)
    if not low < high:
        raise ValueError(f"low must be below high, got {low:g} and {high:g}")
    if found.log and low <= 0:
        raise ValueError(f"low must be above 0 on a logarithmic scale, got {low:g}")
    return Range(low=low, high=high, log=found.log)


def suggest(trial: Trial, space: Space) -> dict[str, Value]:
    """Returns a value of each hyperparameter, drawn by the study's sampler."""
    values: dict[str, Any] = {}
    for name, what in space.parameters.items():
        if not isinstance(what, Range):
            values[name] = trial.suggest_categorical(name, what)
        elif SETTINGS[name].is_whole():
            values[name] = trial.suggest_int(name, int(what.low), int(what.high), log=what.log)
        else:
            values[name] = trial.suggest_float(name, what.low, what.high, log=what.log)
    return values


STARTUP_TRIALS = 6


def startup_values(space: Space, seed: int) -> list[dict[str, Value]]:
    """Returns the values of the first trials, a Latin hypercube.

    Each sixth of a range has one trial in it, which six random draws seldom manage; Optuna's `QMCSampler`
    does not cover lists of values. Methods with the same space and seed begin with the same trials.
    """
    from scipy.stats import qmc

    names = list(space.parameters)
    draws = qmc.LatinHypercube(len(names), rng=seed).random(STARTUP_TRIALS)
    return [
        {
            name: _at(space.parameters[name], share, SETTINGS[name])
            for name, share in zip(names, row, strict=True)
        }
        for row in draws
    ]


def _at(what: Range | tuple[Value, ...], share: float, setting: Setting) -> Value:
    """Returns the value at a share, in [0, 1), of a hyperparameter's range or list."""
    if not isinstance(what, Range):
        return what[int(share * len(what))]
    low, high = what.low, what.high + (1 if setting.is_whole() else 0)
    value = low * (high / low) ** share if what.log else low + share * (high - low)
    return int(value) if setting.is_whole() else float(value)
