"""The records that a piece of work leaves on disk, typed; every key of `result.json` and `environment.json`.

A run is a folder `runs/<id>/`, where `<id>` is the `config_id` of its configuration. It holds

    config.json          RunConfig: everything that decides the numbers
    environment.json     Environment: what it ran on
    start.json           chat tasks: metrics of the starting model
    metrics.jsonl        one JSON object a line: {"step", "epoch", "loss"} while training,
                         {"step", "epoch", "selection": {metric: value}} at each evaluation
    checkpoints/         while the run may be resumed
    result.json          Result; written last
    predictions.parquet  one row an example of the reported split: split, idx, label, prediction, logits
    test_predictions.parquet  with `finetune --predict-test`: split, idx, prediction, logits of test splits;
                         its pandas attribute "data" is the SHA-256 of their texts
    model/               the trained model, plain: `from_pretrained` loads it, head included

Scores are as the metric gives them (0.574, not 57.4); tables multiply by 100. Bytes are bytes. Numbers are
finite: `Record` refuses NaN and infinity.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import pydantic
from pydantic import BaseModel, Field

from ..config import Protocol
from ..errors import InputError
from ..settings import Record

Status = Literal["done", "pruned", "diverged", "out-of-memory", "failed", "interrupted"]
Completeness = Literal["complete", "partial", "synthetic", "custom"]
LOSS = "loss"  # the main metric of chat tasks
TEST_PREDICTIONS = "test_predictions.parquet"


class ResultRecord(Record):
    """A `result.json`."""

    id: str  # `config_id` of the configuration beside it

    @property
    def is_done(self) -> bool:
        """True if the work came to its end, so that it is never done again."""
        return True


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)
C = TypeVar("C", bound=Record)
R = TypeVar("R", bound=ResultRecord)


def read_record(kind: type[AnyRecord], path: Path, advice: str) -> AnyRecord:
    """Returns the record that was written to `path`.

    Args:
        advice: what to do about a file that is not such a record; ends the message.

    Raises:
        InputError: the file is missing, cannot be read or holds something else.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: missing, though what belongs with it is there") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except pydantic.ValidationError as error:
        raise InputError(
            f"{path}: not one that sparsegrad wrote ({first_problem(error)}); {advice}"
        ) from None


def first_problem(error: pydantic.ValidationError) -> str:
    """Returns the first problem in one line: `metrics: loss: Input should be a finite number`."""
    problem = error.errors()[0]
    return "".join(f"{part}: " for part in problem["loc"]) + problem["msg"]


class Parameters(Record):
    """Numbers of scalars."""

    total: int  # in the plain model
    trainable: int  # that one step may move: adapted, head and the rest where it is not frozen
    adapted: int  # that one step moves inside the MLP linears' weights
    head: int  # in the classification head
    touched: int | None  # inside the MLP linears' weights, moved at least once in the run


class DataRecord(Record):
    """The data that a run was trained and scored on."""

    origin: str  # "hub: nyu-mll/glue@<commit>", "folder: <name>", "demo"
    completeness: Completeness  # "partial": fewer rows than the official split
    rows: dict[str, int]  # split -> rows read
    left_out: dict[str, int] = Field(default_factory=dict)  # why -> invalid rows or conversation trees


class Result(ResultRecord):
    """`result.json` of a run."""

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
    steps_per_second: float | None = None  # of the median training step
    steps_per_second_quartiles: tuple[float, float] | None = None  # lower and upper, of the same steps
    tokens_per_step: float | None = None  # on average, those that are computed on
    train_seconds: float = 0.0  # whole training, evaluations included, over all restarts
    peak_memory_bytes: int | None = None  # the allocator's peak over a training step (CUDA's or torch's CPU)
    parameters: Parameters | None = None
    accumulation_steps: int = 1  # parts of a batch; more than the configuration's: the memory asked for it
    single_class: bool = False  # every prediction is the same label: a collapsed run
    data: DataRecord
    hyperparameters_from: str  # learning rate and batch size: "paper table 14", "options", ...

    @property
    def is_done(self) -> bool:
        return self.status == "done"


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
    restarts: int  # times the run was resumed after a kill
    accumulation_steps: int = 1  # as in Result


@dataclass(frozen=True)
class StoredResult(Generic[C, R]):
    """One finished piece of work as it was read from disk."""

    folder: Path
    config: C
    result: R
    recorded: Environment | None  # None for a kind that has no environment

    @property
    def environment(self) -> Environment:
        assert self.recorded is not None, self.folder
        return self.recorded


class CountConfig(Record):
    """`config.json` of a count of a model's parameters, `parameters/<id>/`."""

    parameters: Literal[1] = 1  # tells such a folder from a run's
    model: str  # as typed
    architecture: str  # identity of the configuration that says its shapes


class PartCounts(Record):
    """Numbers of scalars by part of the model."""

    total: int
    mlp: int  # weights and biases of the linears of the MLPs
    embeddings: int  # of tokens, positions and types
    attention: int  # weights and biases of its linears
    rest: int  # norms, and a pooler or an output layer


class CountResult(ResultRecord):
    """`result.json` of a count."""

    parts: PartCounts


def greater_is_better(metric: str) -> bool:
    """Returns whether higher values of a main metric are better; of a loss lower ones are."""
    return metric != LOSS


def format_score(metric: str | None, value: float) -> str:
    """Returns a main metric as a person reads it: a loss as it is, in nats; GLUE's metrics times 100."""
    return f"{value:.3f}" if metric == LOSS else f"{100 * value:.1f}"
