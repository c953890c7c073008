"""What a recording leaves on disk: every key of its files, typed.

A recording is a folder `gradients/<id>/`, where `<id>` is the hash of its configuration. It holds

    config.json          GradientsConfig
    environment.json     store.schema.Environment
    arrays.safetensors   what a figure draws, at the first and the last recorded step; see below
    result.json          GradientsResult; written last, and atomically

Arrays are named `<step>/<block>/<kind>/<what>`, with `G` the gradient of a weight (`O x I`) and `G~` the same
in the basis:

    original, rotated    64 x 64 at most: root mean square of the entries of G, of G~, in each cell
    corner               64 x 64 at most: magnitudes of the leading entries of G~
    curve                3 x points: share of the entries; the energy that so many hold at most in G; in G~
    rows                 examples x tokens: Euclidean norms of the rows of dL/dY

and `<step>/tokens`, examples x tokens: 1 for a token, 0 for padding.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError
from ..methods import get_method
from ..store.schema import Record, RunConfig
from ..training import choices as training
from ..training.configure import DEFAULT_CALIBRATION_STEPS
from ..training.plan import Plan
from ..training.plan import plan as plan_training

THRESHOLDS = (0.0, 1e-3, 1e-2)  # of the largest magnitude of a matrix, or norm of a row


class GradientsConfig(Record):
    """Everything that was asked for."""

    kind: Literal["gradients"] = "gradients"
    run: RunConfig  # the training that is looked at; it ends after `max_steps`
    calibration_steps: int  # batches that make the basis, whatever the method
    every: int  # steps between those that are recorded, besides the first and the last

    def record_id(self) -> str:
        """Sixteen hexadecimal digits that name the folder."""
        key = {"run": self.run.run_id(), "calibration_steps": self.calibration_steps, "every": self.every}
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]

    def recorded_steps(self) -> list[int]:
        """Counted from 1: the gradients of step 1 are those of the starting weights."""
        last = self.run.max_steps
        assert last is not None
        return sorted({1, last, *range(self.every, last, self.every)})


class Counts(Record):
    """How many of a matrix's entries are not small."""

    entries: int
    above: tuple[int, ...]  # for each of THRESHOLDS, those whose magnitude is above it

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(count / self.entries for count in self.above)


class Place(Record):
    """The gradients of one MLP linear at one training step."""

    block: int
    kind: str
    step: int
    shape: tuple[int, int]  # O x I
    rows: int  # of dL/dY: tokens of the batch, padding included
    padding: int  # of them
    live_rows: tuple[int, ...]  # for each of THRESHOLDS, rows whose norm is above it
    output: Counts  # dL/dY, rows x O
    output_rotated: Counts  # dL/dY V
    weight: Counts  # G
    weight_rotated: Counts  # G~
    energy_original: float  # share of the energy of G in its largest 1% of entries
    energy_rotated: float  # of G~


class GradientsResult(Record):
    """`result.json`."""

    id: str
    losses: dict[int, float]  # at each recorded step
    places: tuple[Place, ...]


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
