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


# section 4.2 of the paper; epochs and patience are those of its code
GLUE = Recipe(
    learning_rate=5e-5,
    batch_size=16,
    epochs=20.0,
    length=128,
    patience=5,
    eval_steps=None,
    freeze_rest=False,
    density=0.01,
    precision={"cpu": "fp32", "cuda": "fp32"},
)

# section 4.3 of the paper; sizes of a step, schedule and evaluations are those of its code
OASST = Recipe(
    learning_rate=9e-4,
    batch_size=64,
    part_size=2,
    epochs=1.0,
    length=512,
    patience=0,
    eval_steps=75,
    freeze_rest=True,
    density=0.002,
    precision={"cpu": "fp32", "cuda": "bf16-weights"},
    rank=32,
    blocks="every:3",
    schedule="cosine",
    warmup_steps=50,
    loss_on="assistant",
)
