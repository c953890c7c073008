"""Hyperparameters in a file: the best of a sweep, or a user's own, for `finetune --params`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from ..config import TRAINING_SETTINGS, Given, Protocol, SelectOn, check_given
from ..errors import InputError
from ..settings import Record
from ..yaml_lines import read_yaml


class Best(Record):
    """The best parameters that a sweep found for a model, a task and a method."""

    model: str
    task: str
    method: str
    params: dict[str, Any]  # settings
    score_name: str | None = None  # what was searched for
    score: float | None = None  # at the best evaluation
    select_on: SelectOn | None = None  # what it was measured on
    protocol: Protocol | None = None
    trials: int | None = None  # finished ones that these are the best of
    study: str | None = None  # the sweep's id


@dataclass(frozen=True)
class ParamsFile:
    """What a file holds: parameters for each of several methods, or one set for every run."""

    path: Path
    entries: tuple[Best, ...]
    plain: Given | None

    def values_for(self, model: str, task: str, method: str) -> tuple[Given, str]:
        """Returns the settings for a method's runs, and where they are from, in words.

        Raises:
            InputError: the file has none for this model, task and method, or several sets.
        """
        if self.plain is not None:
            return self.plain, f"params {self.path.name}"
        asked = (model, task, method)
        found = [entry for entry in self.entries if (entry.model, entry.task, entry.method) == asked]
        if len(found) != 1:
            there = ", ".join(f"{entry.model} {entry.task} {entry.method}" for entry in self.entries)
            many = "nothing" if not found else f"{len(found)} sets of parameters"
            hint = f"it has {there}" if not found else "name the best.yaml of one study"
            raise InputError(f"--params {self.path}: {many} for {' '.join(asked)}; {hint}")
        (entry,) = found
        source = f"sweep {entry.study[:8]}" if entry.study else f"params {self.path.name}"
        if entry.select_on is not None:
            source += f", best of {entry.trials} on {entry.select_on}"
        return entry.params, source


def read_params(path: Path) -> ParamsFile:
    """Reads what `sparsegrad sweep` wrote, or a plain mapping such as `learning_rate: 3.0e-5`.

    Raises:
        InputError: it is missing, is neither, or a setting in it is wrong.
    """
    try:
        read, _ = read_yaml(path)
    except InputError as error:
        raise InputError(f"--params {error}") from None
    if isinstance(read, Mapping):
        return ParamsFile(path, (), _checked(path, read))
    if not isinstance(read, list) or not read:
        raise InputError(
            f"--params {path}: neither a sweep's best.yaml nor a mapping such as learning_rate: 3.0e-5"
        )
    try:
        entries = pydantic.TypeAdapter(tuple[Best, ...]).validate_python(read)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise InputError(f"--params {path}: {where}: {problem['msg']}") from None
    return ParamsFile(
        path,
        tuple(entry.model_copy(update={"params": _checked(path, entry.params)}) for entry in entries),
        None,
    )


def _checked(path: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return check_given(params, TRAINING_SETTINGS)
    except InputError as error:
        raise InputError(f"--params {path}: {error}") from None
