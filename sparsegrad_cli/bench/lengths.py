"""How long GLUE's examples are, so that steps can be timed on such batches without the data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# quantiles of the tokens of a training example, special ones included, by BERT's uncased WordPiece
LEVELS = (*np.linspace(0, 0.95, 20), 0.975, 0.99, 0.999, 1)
LENGTHS = {
    task: tuple(map(int, line.split()))
    for task, line in {
        "stsb": "10 15 16 17 18 19 19 20 21 22 23 24 25 26 28 31 35 42 51 60 67 75 93 125",
        "cola": "4 6 7 8 8 9 9 9 10 10 10 11 11 12 12 13 14 15 17 20 22 25 32 47",
        "mnli": "5 16 19 22 24 27 29 31 33 35 37 39 42 44 47 50 53 57 63 73 83 99 158 443",
        "mrpc": "19 32 36 39 41 44 45 47 50 51 53 55 57 59 61 62 64 67 70 74 78 83 97 103",
        "qnli": "13 27 30 33 35 37 39 41 43 45 46 48 50 53 55 58 61 66 71 81 92 106 162 549",
        "qqp": "11 17 19 20 21 22 23 24 25 26 27 29 30 31 33 36 38 42 47 55 63 75 109 312",
        "rte": "13 29 33 37 40 43 45 47 50 53 56 59 62 67 72 85 103 120 135 157 179 197 246 289",
        "sst2": "3 4 4 5 6 6 7 8 8 9 10 11 13 14 16 18 20 23 27 33 39 44 56 66",
    }.items()
}


def draw_lengths(task: str, count: int, longest: int, generator: torch.Generator) -> Tensor:
    """Returns `count` lengths (int64) distributed as those of a task's examples, cut to `longest`."""
    drawn = np.interp(torch.rand(count, generator=generator).numpy(), LEVELS, LENGTHS[task])
    return torch.from_numpy(drawn.round()).long().clamp(max=longest)
