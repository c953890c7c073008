"""How long a task's examples are in tokens, from a sample: a plan need not encode all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow.compute as pc

from ...models.checkpoint import Checkpoint
from ...models.load import load_tokenizer
from ...tasks.load import TaskData

SAMPLED, LONGEST = 512, 16  # rows at random; rows of most characters
SEED = 0

_samples: dict[str, Texts] = {}  # by the data's digest: many runs share them


@dataclass(frozen=True, eq=False)
class Texts:
    """Rows of a train split, each its text columns."""

    sampled: list[tuple[str, ...]]
    longest: list[tuple[str, ...]]


@dataclass(frozen=True)
class Lengths:
    """Tokens of the examples, cut at the run's length."""

    sampled: np.ndarray  # ascending
    longest: int

    def padded(self, batch_size: int) -> float:
        """The length that a batch of so many examples is padded to, on average."""
        upto = np.arange(len(self.sampled) + 1) / len(self.sampled)
        return float((self.sampled * np.diff(upto**batch_size)).sum())


def sample_texts(data: TaskData) -> Texts:
    """A few rows of the train split, the same for the same data."""
    if data.sha256 not in _samples:
        table = data.splits[data.task.train].with_format("arrow")[:]
        columns = [table[name] for name in data.task.text]
        characters = sum(pc.utf8_length(column).to_numpy() for column in columns)
        rows = np.random.default_rng(SEED).permutation(len(characters))[:SAMPLED]
        longest = np.argsort(characters, kind="stable")[-LONGEST:]

        def texts(indices: np.ndarray) -> list[tuple[str, ...]]:
            return list(zip(*(column.take(indices).to_pylist() for column in columns), strict=True))

        _samples[data.sha256] = Texts(texts(rows), texts(longest))
    return _samples[data.sha256]


@lru_cache
def lengths(texts: Texts, checkpoint: Checkpoint, length: int) -> Lengths:
    """Tokens of `texts`, at most `length` of each.

    Raises:
        InputError: the checkpoint's tokenizer is damaged or missing.
    """
    columns = [list(column) for column in zip(*texts.sampled, *texts.longest, strict=True)]
    encoded = load_tokenizer(checkpoint)(*columns, truncation=True, max_length=length)
    tokens = np.array([len(ids) for ids in encoded["input_ids"]])
    return Lengths(np.sort(tokens[: len(texts.sampled)]), int(tokens.max()))
