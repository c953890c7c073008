"""What is searched: hyperparameters of a run, each with a range or a list of values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args

import pydantic
import yaml
from optuna.trial import Trial

from ..errors import InputError, unknown
from ..store.names import SUPPORTS
from ..store.schema import Record

Value = bool | int | float | str
Name = Literal[
    "learning_rate",
    "sparse_learning_rate",
    "batch_size",
    "density",
    "kept",
    "rank",
    "support",
    "calibration_steps",
    "freeze_rest",
]
NAMES: tuple[str, ...] = get_args(Name)
WHOLE = ("batch_size", "kept", "rank", "calibration_steps")
ALWAYS = ("learning_rate", "batch_size", "freeze_rest")  # what every method uses


class Range(Record):
    """Numbers from `low` to `high`, both included; `log`: uniform in the logarithm."""

    low: int | float
    high: int | float
    log: bool = False


PAPER: dict[Name, Range | tuple[Value, ...]] = {
    "learning_rate": Range(low=1e-6, high=1e-1, log=True),
    "batch_size": (8, 16, 32),
}


class Space(Record):
    """Hyperparameters by their option's name with underscores; the paper's space is the default.

    The paper (section 5.1) searches a learning rate of 1e-6 to 1e-1, uniform in the logarithm, and a batch
    size of 8, 16 or 32.
    """

    parameters: dict[Name, Range | tuple[Value, ...]] = pydantic.Field(default_factory=lambda: dict(PAPER))

    def used_by(self, options: frozenset[str]) -> Space:
        """Without what a method with `options` has no use for."""
        used = {name: what for name, what in self.parameters.items() if name in ALWAYS or name in options}
        return Space(parameters=used)

    def corners(self) -> list[dict[str, Value]]:
        """Each parameter's extreme values, one at a time beside the lowest of the others."""
        ends = {
            name: [what.low, what.high] if isinstance(what, Range) else list(what)
            for name, what in self.parameters.items()
        }
        lowest = {name: values[0] for name, values in ends.items()}
        return [{**lowest, name: value} for name, values in ends.items() for value in values]


def read_space(path: Path | None) -> Space:
    """The paper's space with what a YAML puts in its place or adds.

    The file maps names to a list of values, to one value, or to `{low, high, log}`:

        batch_size: [16, 32]
        density: {low: 0.002, high: 0.05, log: true}

    Raises:
        InputError: the file is missing or no such mapping, or a range cannot be searched.
    """
    if path is None:
        return Space()
    parameters = dict(PAPER)
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--space {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InputError(f"--space {path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(read, dict) or not read:
        raise InputError(f"--space {path}: not a mapping of names to values, such as batch_size: [16, 32]")
    for name, what in read.items():
        if name not in NAMES:
            raise InputError(f"--space {path}: {unknown('hyperparameter', str(name), NAMES)}")
        try:
            parameters[name] = _parameter(name, what)
        except ValueError as error:
            raise InputError(f"--space {path}: {name}: {error}") from None
    if "density" in read and "kept" in read:
        raise InputError(f"--space {path}: density and kept say the same thing: search one of them")
    return Space(parameters=parameters)


def _parameter(name: str, what: object) -> Range | tuple[Value, ...]:
    if isinstance(what, dict):
        try:
            found = Range.model_validate(what)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            example = "{low: 1, high: 2, log: false}"
            raise ValueError(f"{where}: {problem['msg']}; a range is {example}") from None
        if name in ("support", "freeze_rest"):
            raise ValueError("is no number: give a list of values")
        return _checked(name, found)
    values = tuple(what) if isinstance(what, list) else (what,)
    if not values or len(set(values)) < len(values):
        raise ValueError("give one value or several different ones")
    return tuple(_value(name, value) for value in values)


def _checked(name: str, found: Range) -> Range:
    if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        raise ValueError(f"low must be below high, got {found.low:g} and {found.high:g}")
    if found.low <= 0:
        raise ValueError(f"must be above 0, got low: {found.low:g}")
    if name in WHOLE and not (isinstance(found.low, int) and isinstance(found.high, int)):
        raise ValueError("is a whole number: low and high must be too")
    return found if name in WHOLE else Range(low=float(found.low), high=float(found.high), log=found.log)


def _value(name: str, value: object) -> Value:
    if name == "support":
        if value not in SUPPORTS:
            raise ValueError(unknown("support", str(value), SUPPORTS))
        return str(value)
    if name == "freeze_rest":
        if not isinstance(value, bool):
            raise ValueError(f"is true or false, not {value!r}")
        return value
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    if name in WHOLE and not isinstance(value, int):
        raise ValueError(f"is a whole number, not {value:g}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"must be above 0, got {value:g}")
    return value if name in WHOLE else float(value)


def _number(text: str) -> float | str:
    """YAML reads 1e-4, which has no point, as a text."""
    try:
        return float(text)
    except ValueError:
        return text


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
