"""What a run leaves on disk: every key of `config.json`, `result.json` and `environment.json`, typed.

A run is a folder `runs/<id>/`, where `<id>` is the hash of its `RunConfig`. It holds

    config.json          RunConfig: everything that decides the numbers
    environment.json     Environment: what it ran on
    start.json           chat tasks: metrics of the starting model
    metrics.jsonl        one JSON object a line: {"step", "epoch", "loss"} while training,
                         {"step", "epoch", "selection": {metric: value}} at each evaluation
    result.json          Result; written last, and atomically
    predictions.parquet  one row an example of the reported split: split, idx, label, prediction, logits
    test_predictions.parquet  with `finetune --predict-test`: split, idx, prediction, logits of test splits;
                         its pandas attribute "data" is the SHA-256 of their texts
    model/               the trained model, plain: `from_pretrained` loads it, head included

Scores are as the metric gives them (0.574, not 57.4); tables multiply by 100. Bytes are bytes.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field

from .names import (
    ChatFormat,
    Completeness,
    Form,
    LossOn,
    Precision,
    Protocol,
    Schedule,
    Status,
    Support,
)


class Record(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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

    def deciding(self) -> dict[str, str | int | float | bool | None]:
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


class Parameters(Record):
    """Numbers of scalars."""

    total: int  # in the plain model
    trainable: int  # that one step may move: adapted, head and the rest where it is not frozen
    adapted: int  # that one step moves inside the MLP linears' weights
    head: int  # in the classification head
    touched: int | None  # inside the MLP linears' weights, moved at least once in the run


class DataRecord(Record):
    """What the run was trained and scored on."""

    origin: str  # "hub: nyu-mll/glue@<commit>", "folder: <name>", "demo"
    completeness: Completeness  # "partial": fewer rows than the official split
    rows: dict[str, int]  # split -> rows read
    left_out: dict[str, int] = Field(default_factory=dict)  # chat tasks: why -> conversation trees


class Result(Record):
    """`result.json`."""

    id: str
    model: str
    task: str
    method: str
    seed: int
    protocol: Protocol
    status: Status
    error: str | None  # one line; None when done
    score_name: str  # the task's main metric, e.g. "matthews_correlation"
    score: float | None = None  # of the best checkpoint on the reported split
    metrics: dict[str, float] = Field(default_factory=dict)  # "..._before": of the start
    selection_score: float | None = None  # the main metric, best evaluation, on the split that selects
    best_step: int | None = None
    steps: int = 0  # optimizer steps taken
    epochs: float = 0.0  # passes over the training split taken
    steps_per_second: float | None = None  # training steps alone: no evaluation, no checkpoint
    tokens_per_step: float | None = None  # on average, padding included
    train_seconds: float = 0.0  # whole training, evaluations included, over all restarts
    peak_memory_bytes: int | None = None  # the allocator's peak over a training step (CUDA's or torch's CPU)
    parameters: Parameters | None = None
    accumulation_steps: int = 1  # parts of a batch; more than the configuration's: the memory asked for it
    single_class: bool = False  # every prediction is the same label: a collapsed run
    data: DataRecord
    hyperparameters_from: str  # learning rate and batch size: "paper table 14", "options", ...


class Environment(Record):
    """`environment.json`: enough to tell why the same configuration gave other numbers."""

    started: str  # ISO 8601, UTC
    command: list[str]
    versions: dict[str, str]  # python, torch, transformers, ... -> version
    hardware: dict[str, str | int]  # platform, processor, cores, threads, memory_bytes, gpu
    git_revision: str | None
    git_dirty: bool | None
    checkpoint: str  # the starting weights: "sha256:..." or "hub:<id>@<commit>"
    data: str  # "sha256:..." over the examples
    restarts: int  # times the run was taken up again after a kill
    accumulation_steps: int = 1  # as in Result
