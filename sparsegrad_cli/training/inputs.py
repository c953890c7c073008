"""What a run reads: the data as encoded splits, and which of them selects and which is reported."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import datasets
import huggingface_hub
import numpy as np
import transformers
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..config import RunConfig
from ..models.checkpoint import Checkpoint
from ..tasks.load import TaskData
from ..tasks.splits import SELECTING, split_dev
from .objectives import Objective, objective_of

SHORTENED_SEED = 0  # the examples of a shortened train split are the same for every seed


@dataclass(frozen=True)
class ReportedSplit:
    """Examples that are scored in the end."""

    name: str
    suffix: str  # of its metrics' names
    rows: Dataset  # encoded
    indices: list[int]  # the name of each row, as GLUE's idx


@dataclass(frozen=True)
class Inputs:
    """Everything a run reads besides its configuration."""

    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    data: TaskData
    train: Dataset
    selection: Dataset  # evaluated while training; the best checkpoint is the best on it
    reported: list[ReportedSplit]

    @property
    def objective(self) -> Objective:
        """What the run trains for."""
        return objective_of(self.data.task)

    def collator(self, config: RunConfig) -> Callable[[list[dict]], dict[str, Tensor]]:
        """From rows to a batch."""
        return self.objective.collator(config, self.tokenizer)


def read_inputs(
    config: RunConfig, checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase, data: TaskData
) -> Inputs:
    """Encodes the splits and deals them out by the protocol.

    `paper`: dev selects and dev is reported. `heldout`: one half of dev selects, the other is reported.
    """
    task = data.task
    objective = objective_of(task)
    is_held_out = config.protocol == "heldout"
    dealt = split_dev(data) if is_held_out else data
    encoded = objective.encode(config, dealt, tokenizer)
    reported = [
        ReportedSplit(
            name=split,
            suffix=suffix,
            rows=encoded[split],
            indices=objective.indices(dealt, split, len(encoded[split])),
        )
        for split, suffix in zip(task.dev, task.suffixes, strict=True)
    ]
    train = encoded[task.train]
    if config.max_train_examples is not None and config.max_train_examples < len(train):
        order = np.random.default_rng(SHORTENED_SEED).permutation(len(train))
        train = train.select(order[: config.max_train_examples])
    selection = encoded[SELECTING if is_held_out else task.dev[0]]
    return Inputs(checkpoint, tokenizer, data, train, selection, reported)


def quiet_libraries(downloads: bool) -> None:
    """Errors only, and no progress bars of theirs but, if `downloads`, those of downloads."""
    if not downloads:
        huggingface_hub.utils.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", module=r"torch|transformers|accelerate|peft|datasets")
