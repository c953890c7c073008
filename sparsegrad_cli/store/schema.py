"""The settings of a run, as `config.json` has them."""

from __future__ import annotations

import hashlib
import json

from pydantic import JsonValue

from .names import ChatFormat, Completeness, Form, LossOn, Precision, Protocol, Schedule, Status, Support
from .records import DataRecord, Environment, Parameters, Record, Result

__all__ = [  # those that are not defined here stand here until their users have moved
    "Completeness",
    "DataRecord",
    "Environment",
    "Parameters",
    "Record",
    "Result",
    "RunConfig",
    "Status",
]


class RunConfig(Record):
    """Everything that decides a run's numbers; what a method does not use is None."""

    model: str  # hub id, local directory, or "demo"
    model_revision: str | None  # hub revision; for weights on this disk, the SHA-256 of them
    task: str
    data: str  # "hub", "demo" or a directory
    data_revision: str  # SHA-256 over the examples of every split that the run reads
    method: str
    seed: int
    protocol: Protocol
    device: str  # "cpu" or "cuda"
    precision: Precision
    learning_rate: float
    batch_size: int  # examples
    epochs: float  # passes over the training split, at most
    max_steps: int | None  # optimizer steps, at most; overrides epochs
    max_train_examples: int | None  # the first so many after a seeded shuffle
    patience: int  # evaluations without improvement before stopping; 0: never stop early
    eval_steps: int | None  # optimizer steps between evaluations; None: once an epoch
    length: int  # tokens, at most
    pad_to_max: bool  # every batch padded to `length`, as the paper does
    freeze_rest: bool  # train only the adapter part and the head
    kept: int | None  # entries trained in each MLP matrix at each step (meprop, sparsegrad)
    density: float | None  # the same as a share of the matrix; one of the two is set
    support: Support | None  # sparsegrad: the kept set moves ("dynamic") or was chosen by the calibration
    form: Form | None  # sparsegrad with the dynamic support
    calibration_steps: int | None  # sparsegrad: batches in the calibration
    basis: str | None  # sparsegrad: SHA-256 of a basis given by the user; None: calibrated for the run
    rank: int | None  # lora
    sparse_learning_rate: float | None = None  # meprop, sparsegrad: of the chosen entries
    accumulation_steps: int | None = None  # parts that a batch is worked on in; None: 1
    blocks: str | None = None  # whose MLP linears are adapted, such as "every:3"; None: all
    basis_rank: int | None = None  # sparsegrad: leading directions of the basis, a side; None: all
    gradient_checkpointing: bool | None = None  # activations are made again in backward; None: they are not
    schedule: Schedule | None = None  # of the learning rate; None: constant
    warmup_steps: int | None = None  # in which it rises to its value, at most a third of all; None: 0
    loss_on: LossOn | None = None  # chat tasks: whose turns count
    chat_format: ChatFormat | None = None  # chat tasks

    def deciding(self) -> dict[str, JsonValue]:
        """The keys that tell this run from others.

        Where the data lie does not count, only what they are. A key with a default is younger than the
        others, and counts only where it is set.
        """
        younger = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        unset = {name for name in younger if getattr(self, name) is None}
        return self.model_dump(exclude={"data", *unset})

    def run_id(self) -> str:
        """Sixteen hexadecimal digits that name the run's folder."""
        canonical = json.dumps(self.deciding(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
