"""What a run reads: the data as encoded splits, and which of them selects and which is reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from ..models.checkpoint import Checkpoint
from ..store.schema import RunConfig
from ..tasks.data import TaskData
from .encode import encode

HELDOUT_SEED = (
    0  # the halves of dev, and the examples of a shortened train split, are the same for every seed
)


@dataclass(frozen=True)
class ReportedSplit:
    """Examples that are scored in the end."""

    name: str
    suffix: str  # of its metrics' names
    rows: Dataset  # encoded
    indices: list[int]  # GLUE's idx of each row


@dataclass(frozen=True)
class Inputs:
    """Everything a run reads besides its configuration."""

    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    data: TaskData
    train: Dataset
    selection: Dataset  # evaluated while training; the best checkpoint is the best on it
    reported: list[ReportedSplit]

    def collator(self, config: RunConfig) -> DataCollatorWithPadding:
        """Pads to the longest of a batch, or to `length`."""
        if config.pad_to_max:
            return DataCollatorWithPadding(self.tokenizer, padding="max_length", max_length=config.length)
        return DataCollatorWithPadding(self.tokenizer)


def read_inputs(
    config: RunConfig, checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase, data: TaskData
) -> Inputs:
    """Encodes the splits and deals them out by the protocol.

    `paper`: dev selects and dev is reported. `heldout`: one half of dev selects, the other is reported.
    """
    encoded = encode(data, tokenizer, config.length)
    task = data.task
    halves = {split: _halves(len(encoded[split]), config.protocol) for split in task.dev}
    reported = [
        ReportedSplit(
            name=split,
            suffix=suffix,
            rows=encoded[split].select(halves[split][1]),
            indices=data.splits[split].select(halves[split][1])["idx"][:],
        )
        for split, suffix in zip(task.dev, task.suffixes, strict=True)
    ]
    train = encoded[task.train]
    if config.max_train_examples is not None and config.max_train_examples < len(train):
        order = np.random.default_rng(HELDOUT_SEED).permutation(len(train))
        train = train.select(order[: config.max_train_examples])
    selection = encoded[task.dev[0]].select(halves[task.dev[0]][0])
    return Inputs(checkpoint, tokenizer, data, train, selection, reported)


def _halves(rows: int, protocol: str) -> tuple[list[int], list[int]]:
    """Rows that select, rows that are reported."""
    if protocol == "paper":
        return list(range(rows)), list(range(rows))
    order = np.random.default_rng(HELDOUT_SEED).permutation(rows)
    return sorted(order[: rows // 2].tolist()), sorted(order[rows // 2 :].tolist())
