"""What one would type to train with the best parameters of a study."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from ..training.choices import Choices
from .schema import SweepConfig

SEEDS = (0, 1, 2)  # the paper's number of them
SAID_ELSEWHERE = ("model", "data", "task", "methods", "seeds")


def finetune_command(config: SweepConfig, best: Path, results: Path) -> str:
    """`sparsegrad finetune` with the study's options, its best parameters and three seeds."""
    choices = config.choices
    (method,) = choices.methods
    words = ["--model", choices.model, "--data", choices.data, "--task", choices.task, "--method", method]
    for field in dataclasses.fields(Choices):
        value = getattr(choices, field.name)
        if field.name not in (*SAID_ELSEWHERE, *config.space.parameters) and value != field.default:
            words += _option(field.name, value)
    words += ["--params", str(best)]
    for seed in SEEDS:
        words += ["--seed", str(seed)]
    if results != Path("results"):
        words += ["--output", str(results)]
    return shlex.join(["sparsegrad", "finetune", *words])


def _option(name: str, value: bool | float | str | Path | tuple[str, ...]) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, tuple):  # languages
        return [word for code in value for word in (flag.removesuffix("s"), code)]
    if isinstance(value, bool):
        return [flag if value else "--train-rest"]  # the only one that has a name for its opposite
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]
