"""Tokens whose gradient is exactly zero, and how backward leaves them out.

Padding has none, nor have all but the first token in the last block of a classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor

PROBED = 16  # columns: a row that is zero there is looked at whole


def live_rows(A: Tensor) -> Tensor | None:
    """Positions of the rows of `A` that are not all zero; None where dropping the others would not pay."""
    if A[:, :PROBED].any(1).all():
        return None
    rows = A.any(1).nonzero()[:, 0]
    return rows if 10 * len(rows) <= 9 * len(A) else None


def pick(A: Tensor, rows: Tensor | None) -> Tensor:
    """The rows of `A` at `rows`; None: all."""
    return A if rows is None else A[rows]


def put(A: Tensor, rows: Tensor | None, shape: torch.Size) -> Tensor:
    """The inverse of `pick`, with zeros elsewhere, as (*shape, columns)."""
    if rows is not None:
        A = A.new_zeros(shape.numel(), A.shape[1]).index_copy_(0, rows, A)
    return A.reshape(*shape, -1)


def same_rows(rows: Tensor | None, others: Tensor | None) -> bool:
    """Whether both stand for the same rows."""
    if rows is None or others is None:
        return rows is others
    return torch.equal(rows, others)
