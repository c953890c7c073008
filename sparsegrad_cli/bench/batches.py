"""The batches of a benchmark in a file: written once, the same for every row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

Batch = dict[str, Tensor]


def save_batches(batches: Iterator[Batch], count: int, path: Path) -> None:
    """Writes the first `count`."""
    tensors = {
        f"{number}/{name}": tensor.contiguous()
        for number, batch in enumerate(islice(batches, count))
        for name, tensor in batch.items()
    }
    save_file(tensors, path)


def load_batches(path: str, first: int, count: int, device: str) -> list[Batch]:
    """Reads `count` of them, from number `first` on, onto `device`."""
    batches: list[Batch] = [{} for _ in range(count)]
    for key, tensor in load_file(path).items():
        number, name = key.split("/")
        if first <= int(number) < first + count:
            batches[int(number) - first][name] = tensor.to(device)
    return batches


def tokens_of(batch: Batch) -> int:
    """Tokens that are not padding."""
    return int(batch["attention_mask"].sum())
