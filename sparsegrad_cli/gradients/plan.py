"""From what a user asked for to the training that is recorded, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..methods import get_method
from ..training import choices as training
from ..training.configure import DEFAULT_CALIBRATION_STEPS
from ..training.plan import Plan
from ..training.plan import plan as plan_training
from .schema import GradientsConfig


@dataclass(frozen=True)
class Choices:
    """What is recorded; None stands for the default of `finetune`."""

    model: str
    task: str
    data: str
    method: str = "sparsegrad"
    seed: int = 0
    device: str = "auto"
    length: int = 128
    batch_size: int | None = None
    learning_rate: float | None = None
    calibration_steps: int | None = None
    density: float | None = None
    kept: int | None = None
    steps: int = 100  # of the training
    every: int = 10  # steps between those that are recorded


def plan(choices: Choices, from_shapes: bool = False) -> tuple[GradientsConfig, Plan]:
    """Finds the model and the data, fills in the defaults, and checks that all fit together.

    Args:
        from_shapes: see `find_ground`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    for name in ("steps", "every"):
        if getattr(choices, name) < 1:
            raise InputError(f"{name} must be at least 1, got {getattr(choices, name)}")
    calibrates = "calibration_steps" in get_method(choices.method).options
    planned = plan_training(
        training.Choices(
            model=choices.model,
            task=choices.task,
            data=choices.data,
            methods=(choices.method,),
            seeds=(choices.seed,),
            device=choices.device,
            length=choices.length,
            batch_size=choices.batch_size,
            learning_rate=choices.learning_rate,
            max_steps=choices.steps,
            density=choices.density,
            kept=choices.kept,
            calibration_steps=choices.calibration_steps if calibrates else None,
        ),
        from_shapes,
    )
    (run,) = planned.configs
    config = GradientsConfig(
        run=run,
        calibration_steps=choices.calibration_steps or DEFAULT_CALIBRATION_STEPS,
        every=choices.every,
    )
    return config, planned
