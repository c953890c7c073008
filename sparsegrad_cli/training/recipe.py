"""What a run takes where the user says nothing, and the paper nothing of its model."""

from __future__ import annotations

from dataclasses import dataclass

from ..store.names import LossOn, Precision, Schedule


@dataclass(frozen=True)
class Recipe:
    """Defaults of a kind of task; the names are those of `Choices`."""

    learning_rate: float
    batch_size: int  # examples; of a chat task, packed sequences
    epochs: float
    length: int  # tokens
    patience: int  # evaluations
    eval_steps: int | None  # None: once an epoch
    freeze_rest: bool
    density: float
    precision: dict[str, Precision]  # device -> precision
    part_size: int | None = None  # examples that are worked on at once; None: the whole batch
    rank: int | None = None  # None: by the model's hidden size
    blocks: str = "all"
    schedule: Schedule | None = None  # None: constant
    warmup_steps: int | None = None
    loss_on: LossOn | None = None
