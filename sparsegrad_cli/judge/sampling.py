"""Draws of text that depend on the question alone, not on what is answered beside it.

Of logits `z`, `argmax(z / T + n)` with `n` Gumbel noise is a draw from `softmax(z / T)`. Each row of a batch
has a generator of its own, on the CPU, so the same noise comes whatever the batch and the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LogitsProcessor

GREEDY_BELOW = 1e-4  # temperature


@dataclass
class Row:
    """What one row of a batch is drawn with."""

    temperature: float
    seed: str  # any text
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        number = int.from_bytes(hashlib.sha256(self.seed.encode()).digest()[:7], "big")
        self.generator = torch.Generator().manual_seed(number)


class GumbelNoise(LogitsProcessor):
    """Makes of a greedy search a draw at each row's temperature; below 1e-4 it stays greedy."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores`: rows x vocabulary."""
        scores = scores.clone()
        for place, row in enumerate(self.rows):
            if row.temperature >= GREEDY_BELOW:
                waits = torch.empty(scores.shape[1]).exponential_(generator=row.generator)
                noise = -waits.clamp_min(torch.finfo(torch.float32).tiny).log()
                scores[place] = scores[place] / row.temperature + noise.to(scores)
        return scores
