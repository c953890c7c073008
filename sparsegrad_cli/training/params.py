"""Hyperparameters in a file: the best of a sweep, or a user's own, for `finetune --params`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pydantic
import yaml

from ..errors import InputError
from ..store.names import SelectOn, Support
from ..store.schema import Record
from .choices import Choices
from .ground import Ground, find_ground
from .option_checks import check_options
from .plan import Plan, of_method, plan_on


class Params(Record):
    """Hyperparameters by their option's name with underscores; those that are not given are None."""

    learning_rate: float | None = None
    sparse_learning_rate: float | None = None
    batch_size: int | None = None  # examples
    density: float | None = None
    kept: int | None = None
    rank: int | None = None
    support: Support | None = None
    calibration_steps: int | None = None
    freeze_rest: bool | None = None


class Best(Record):
    """The best parameters that a sweep found for a model, a task and a method."""

    model: str
    task: str
    method: str
    params: Params
    score_name: str | None = None  # what was searched for
    score: float | None = None  # at the best evaluation
    select_on: SelectOn | None = None  # what it was measured on
    protocol: Literal["paper", "heldout"] | None = None
    trials: int | None = None  # finished ones that these are the best of
    study: str | None = None  # the sweep's id


@dataclass(frozen=True)
class ParamsFile:
    """What a file holds: parameters for cells, or one set for every run."""

    path: Path
    entries: tuple[Best, ...]
    plain: Params | None

    def plans(self, choices: Choices, ground: Ground | None = None, from_shapes: bool = False) -> list[Plan]:
        """The runs of each method, with the file's hyperparameters where the user gave none.

        Args:
            ground: what the runs stand on, where that was found before.
            from_shapes: see `find_ground`.

        Raises:
            InputError: the file has nothing for this model, task and a method, or several things; or the
                options are wrong.
        """
        check_options(choices if self.plain is None else _filled(choices, self.plain))
        ground = ground or find_ground(choices, from_shapes)
        plans = []
        for method in dict.fromkeys(choices.methods):
            params, source = self._of(choices.model, ground.data.task.name, method)
            filled = _filled(replace(choices, methods=[method]), params)
            plans.append(plan_on(ground, of_method(filled), source))
        return plans

    def _of(self, model: str, task: str, method: str) -> tuple[Params, str]:
        """The parameters for a cell, and where they came from, in words."""
        if self.plain is not None:
            return self.plain, f"params {self.path.name}"
        of_cell = [
            entry
            for entry in self.entries
            if (entry.model, entry.task, entry.method) == (model, task, method)
        ]
        if len(of_cell) != 1:
            there = ", ".join(f"{entry.model} {entry.task} {entry.method}" for entry in self.entries)
            many = "nothing" if not of_cell else f"{len(of_cell)} sets of parameters"
            hint = f"it has {there}" if not of_cell else "name the best.yaml of one study"
            raise InputError(f"--params {self.path}: {many} for {model} {task} {method}; {hint}")
        (entry,) = of_cell
        source = f"sweep {entry.study[:8]}" if entry.study else f"params {self.path.name}"
        if entry.select_on is not None:
            source += f", best of {entry.trials} on {entry.select_on}"
        return entry.params, source


def read_params(path: Path) -> ParamsFile:
    """Reads what `sparsegrad sweep` wrote, or a plain mapping such as `learning_rate: 3.0e-5`.

    Raises:
        InputError: it is missing, or is neither.
    """
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--params {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--params {path}: no YAML: {' '.join(str(error).split())}") from None
    try:
        if isinstance(read, Mapping):
            return ParamsFile(path, (), Params.model_validate(read))
        if isinstance(read, list) and read:
            return ParamsFile(path, pydantic.TypeAdapter(tuple[Best, ...]).validate_python(read), None)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise InputError(f"--params {path}: {where}: {problem['msg']}") from None
    raise InputError(
        f"--params {path}: neither a sweep's best.yaml nor a mapping such as learning_rate: 3.0e-5"
    )


def _filled(choices: Choices, params: Params) -> Choices:
    """What the user gave goes before the file: `--kept` also before its density, `--basis` before steps."""
    values = params.model_dump(exclude_none=True)
    if choices.density is not None or choices.kept is not None:
        values = {name: value for name, value in values.items() if name not in ("density", "kept")}
    if choices.basis is not None:
        values.pop("calibration_steps", None)
    return replace(
        choices, **{name: value for name, value in values.items() if getattr(choices, name) is None}
    )
