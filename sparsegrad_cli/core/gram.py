"""The sum of `A A^T` over many `A`, and its eigenvectors: all of them, or the leading ones alone.

Only the lower triangle is summed and held, as strips of rows that end at the diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

STRIP = 512  # rows
SPARE = 4  # the leading `rank` directions are sought among 1/4 more
SETTLED = 1e-4  # of the energy: a round that finds less than this anew is the last
ROUNDS = 20  # at most


class Gram:
    """`sum A A^T`, `n x n`, of matrices with `n` rows.

    Args:
        n: rows.
        like: gives the device, and the dtype where that is wider than float32.
    """

    def __init__(self, n: int, like: Tensor) -> None:
        self.n = n
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        self.strips = [
            like.new_zeros(min(STRIP, n - top), min(top + STRIP, n), dtype=self.dtype)
            for top in range(0, n, STRIP)
        ]

    def add(self, A: Tensor) -> None:
        """`A` has shape `n x m` and the dtype of the sum."""
        for top, strip in zip(range(0, self.n, STRIP), self.strips, strict=True):
            strip.addmm_(A[top : top + STRIP], A[: top + STRIP].T)

    def principal(self, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """Eigenvectors and their shares of the whole energy (the trace), largest first.

        Frees the sum. All of them come from LAPACK in float64; a `rank` well below `n` from subspace
        iteration, whose directions hold all but about 1e-4 of the energy that any so many could.

        Args:
            rank: how many; None, or `n` and more: all.

        Returns:
            `n x rank`, column-major, and `rank`, in the dtype of the sum.
        """
        rank = min(rank or self.n, self.n)
        if 3 * rank < self.n:
            return self._leading(rank)
        values, vectors = torch.linalg.eigh(self._whole(torch.float64), UPLO="L")
        values = values.flip(0).clamp(min=0)
        # column-major, as a Rotation holds them, so that they are shared
        columns = vectors.T.flip(0)[:rank].to(self.dtype).contiguous().T
        return columns, _shares(values, values.sum())[:rank].to(self.dtype)

    def times(self, Q: Tensor) -> Tensor:
        """The sum times `Q`, of shape `n x m`."""
        product = torch.zeros_like(Q)
        for top, strip in zip(range(0, self.n, STRIP), self.strips, strict=True):
            rows = slice(top, top + STRIP)
            product[rows] += strip @ Q[: top + STRIP]
            product[:top] += strip[:, :top].T @ Q[rows]  # above the diagonal
        return product

    def _whole(self, dtype: torch.dtype) -> Tensor:
        """The lower triangle as a square; the strips are freed."""
        whole = self.strips[0].new_zeros(self.n, self.n, dtype=dtype)
        for top in range(0, self.n, STRIP):
            strip = self.strips.pop(0)
            whole[top : top + STRIP, : top + STRIP] = strip
        return whole

    def _leading(self, rank: int) -> tuple[Tensor, Tensor]:
        """By subspace iteration from a fixed start.

        Each round is one product and one orthogonalization. It errs least where the spectrum falls quickly,
        as that of gradients does.
        """
        width = min(self.n, rank + rank // SPARE + 16)
        start = torch.randn(self.n, width, generator=torch.Generator().manual_seed(0))
        product = start.to(self.strips[0])
        tops = range(0, self.n, STRIP)
        trace = sum(strip.diagonal(top).sum() for top, strip in zip(tops, self.strips, strict=True))
        found = 0.0
        for _ in range(ROUNDS):
            Q = torch.linalg.qr(product).Q
            product = self.times(Q)
            before, found = found, (Q * product).sum().item()
            if found - before <= SETTLED * trace:
                break
        self.strips.clear()
        values, vectors = torch.linalg.eigh((Q.T @ product).double())
        values = values.flip(0)[:rank].clamp(min=0)
        columns = (Q @ vectors.flip(1)[:, :rank].to(Q.dtype)).T.contiguous().T
        return columns, _shares(values, trace.double()).to(self.dtype)


def _shares(values: Tensor, total: Tensor) -> Tensor:
    return values / total.clamp(min=torch.finfo(values.dtype).tiny)
