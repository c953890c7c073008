"""The room that Adam's moments take: of most parameters at once, of masked matrices page by page.

A masked Adam holds the moments of a page of neighbours once one of them was chosen (`core.moments`). Which
are chosen hangs on the data, so the share of pages held after `n` steps is taken from experience:

    1 - exp(-a density n^b)

with `a` and `b` as measured on the demo model, at densities from 0.1% to 5%, in up to 150 steps of MRPC and
SST-2; there it is right to a fifth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ...core.moments import PAGE

GROWTH = {"sparsegrad": (4.5, 0.43), "meprop": (7.1, 0.56)}  # method -> a, b
INDEX, MOMENT = 4, 4  # bytes: of a page's place, of one moment of one entry


@dataclass(frozen=True)
class MomentGrowth:
    """Bytes of the moments through a training."""

    dense: int  # of what AdamW trains
    pages: int  # in all masked matrices
    density: float  # share of the masked entries that a step moves
    method: str

    def after(self, steps: int | None) -> int:
        """Bytes after so many steps; None, or a method without experience: when every page is held."""
        return self.dense + round(self.pages * (INDEX + self._share(steps) * 2 * MOMENT * PAGE))

    def _share(self, steps: int | None) -> float:
        if steps is None or self.method not in GROWTH:
            return 1.0
        a, b = GROWTH[self.method]
        return 1 - math.exp(-a * self.density * steps**b)


def moment_growth(
    model: nn.Module, masked: Mapping[nn.Parameter, int], moved: int, method: str
) -> MomentGrowth:
    """The moments of `model`, ready for training.

    Args:
        masked: matrices of which a step moves a few entries -> entries that it chooses from.
        moved: entries of them that one step moves, over all matrices.
    """
    entries = sum(masked.values())
    return MomentGrowth(
        dense=sum(2 * p.nbytes for p in model.parameters() if p.requires_grad and p not in masked),
        pages=sum(math.ceil(of_one / PAGE) for of_one in masked.values()),
        density=moved / entries if entries else 0.0,
        method=method,
    )
