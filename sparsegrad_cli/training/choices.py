"""What a user asks of a run; imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from ..store.names import ChatFormat, Form, LossOn, Precision, Protocol, ScheduleChoice, Support

# not for every method; those that a method uses, it names in its `options`
METHOD_OPTIONS = (
    *("density", "kept", "support", "form", "calibration_steps", "basis", "basis_rank", "rank"),
    "sparse_learning_rate",
)


@dataclass(frozen=True)
class Choices:
    """What the user asked for; None stands for the default that `plan` finds."""

    model: str
    task: str  # a name, or the path of a YAML
    data: str
    methods: Sequence[str]
    seeds: Sequence[int] = (0,)
    protocol: Protocol = "paper"
    device: str = "auto"
    precision: Precision | None = None
    learning_rate: float | None = None
    sparse_learning_rate: float | None = None  # of the entries that meprop and sparsegrad train
    batch_size: PositiveInt | None = None
    accumulation_steps: PositiveInt | None = None
    epochs: float | None = None
    max_steps: PositiveInt | None = None
    max_train_examples: PositiveInt | None = None
    patience: NonNegativeInt | None = None
    eval_steps: PositiveInt | None = None
    length: Annotated[int, Field(ge=4)] | None = None
    pad_to_max: bool = False
    freeze_rest: bool | None = None
    blocks: str | None = None
    schedule: ScheduleChoice | None = None
    warmup_steps: NonNegativeInt | None = None
    gradient_checkpointing: bool = False
    languages: tuple[str, ...] = ("en",)  # chat tasks
    loss_on: LossOn | None = None  # chat tasks
    chat_format: ChatFormat | None = None  # chat tasks
    density: float | None = None
    kept: PositiveInt | None = None
    support: Support | None = None
    form: Form | None = None
    calibration_steps: PositiveInt | None = None
    basis: Path | None = None
    basis_rank: PositiveInt | None = None
    rank: PositiveInt | None = None
