"""Where the batches of a benchmark come from: random tokens, or the examples of a task."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from ..errors import InputError
from ..tasks.data import TaskData
from ..training.encode import encode_pairs
from .batches import Batch
from .schema import Subject


def random_batches(subject: Subject, vocabulary: int, padding: int, num_labels: int) -> Iterator[Batch]:
    """Random tokens without end, every batch another: no padding, every sequence of `subject.length`.

    Args:
        vocabulary: number of token ids.
        padding: the id that is left out.
        num_labels: classes.
    """
    generator = torch.Generator().manual_seed(subject.seed)
    shape = (subject.batch_size, subject.length)
    while True:
        ids = torch.randint(vocabulary - 1, shape, generator=generator)
        yield {
            "input_ids": ids + (ids >= padding),
            "attention_mask": torch.ones(shape, dtype=torch.int64),
            "labels": torch.randint(num_labels, shape[:1], generator=generator),
        }


def real_batches(subject: Subject, tokenizer: PreTrainedTokenizerBase, data: TaskData) -> Iterator[Batch]:
    """Shuffled training examples without end, padded as a run of `finetune` pads them.

    Raises:
        InputError: there are fewer than a batch.
    """
    rows = encode_pairs(data, tokenizer, subject.length)[data.task.train]
    if len(rows) < subject.batch_size:
        raise InputError(
            f"--batch-size {subject.batch_size}: {data.task.name} has {len(rows)} training examples"
        )
    collator = DataCollatorWithPadding(tokenizer)
    if subject.pad_to_max:
        collator = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=subject.length)
    loader = DataLoader(
        rows,
        batch_size=subject.batch_size,
        shuffle=True,
        drop_last=True,  # a smaller batch would be a faster step
        generator=torch.Generator().manual_seed(subject.seed),
        collate_fn=collator,
    )
    while True:
        yield from (dict(batch) for batch in loader)
