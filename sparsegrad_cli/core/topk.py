"""Which entries of a gradient are trained: the k largest at each step, or a choice made once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SAMPLE_STRIDE = 61  # a prime, so that a sample takes from every column
WORTH_SAMPLING = 1 << 16  # entries
TILE = 64  # entries, at most


def kept_entries(
    shape: tuple[int, int],
    kept: int | None = None,
    density: float | None = None,
    rank: tuple[int, int] | None = None,
) -> int:
    """Returns the number of entries to train of an `O x I` matrix, given as a number or as a share.

    They are taken from a truncated `G~` of the shape `rank`, where that is given.

    Raises:
        ValueError: both or neither is given, or one is out of range.
    """
    size = shape[0] * shape[1]
    if (kept is None) == (density is None):
        raise ValueError("give either kept or density")
    if kept is not None and not 1 <= kept <= size:
        raise ValueError(f"kept must be from 1 to {size} for a {shape[0]} x {shape[1]} matrix, got {kept}")
    if density is not None and not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, got {density}")
    chosen = kept if kept is not None else max(1, round((density or 0) * size))
    if rank is not None and chosen > rank[0] * rank[1]:
        raise ValueError(
            f"{chosen} entries of a {shape[0]} x {shape[1]} matrix cannot be kept in a basis truncated to "
            f"{rank[0]} x {rank[1]}: keep fewer, or more directions"
        )
    return chosen


def top_k(G: Tensor, k: int) -> Tensor:
    """Returns the flat positions of the k entries of `G` of largest magnitude, in no order: int64, (k,)."""
    return top_k_rows(G.reshape(1, -1), k)[0]


def top_k_rows(rows: Tensor, k: int) -> Tensor:
    """Returns the positions of the k entries of largest magnitude in each of L rows: int64, `L x k`."""
    k = min(k, rows.shape[1])
    if rows.device.type == "cpu" and rows.shape[1] >= WORTH_SAMPLING and 4 * k <= rows.shape[1]:
        return torch.stack([_top_k_by_sampling(row.abs(), k) for row in rows])
    return rows.abs().topk(k, dim=1, sorted=False).indices


def _top_k_by_sampling(size: Tensor, k: int) -> Tensor:
    """Positions of the k largest, sought among all at or above a threshold that at least k of them reach.

    The threshold comes from a sample, a little low; the count then proves that no larger entry is missed.
    What reaches it is sought in the tiles whose largest entry does: large entries are neighbours, and
    `nonzero` is slow. Over twelve times as fast on a CPU as `topk` of a whole 3072 x 768 matrix.
    """
    sample = size[::SAMPLE_STRIDE]
    expected = k / SAMPLE_STRIDE
    rank = min(sample.numel(), int(expected + 3 * expected**0.5) + 1)
    threshold = sample.topk(rank).values[-1]
    tiles = size.view(-1, math.gcd(len(size), TILE))
    hot = (~(tiles.amax(1) < threshold)).nonzero()[:, 0]  # and what is no number
    tile, place = (~(tiles[hot] < threshold)).nonzero().unbind(1)
    likely = hot[tile] * tiles.shape[1] + place
    if len(likely) < k:
        return size.topk(k, sorted=False).indices
    return likely[size[likely].topk(k, sorted=False).indices]


def leading_block(energy: Tensor, k: int) -> tuple[int, int]:
    """Returns the shape `(r, c)` of the leading block of `energy` that holds most of it in k entries."""
    energy = energy.cpu().double()  # sums on a GPU round otherwise, and a resumed run needs the same shape
    O, I = energy.shape
    columns = torch.arange(1, min(I, k) + 1)
    rows = (k // columns).clamp(max=O)
    held = energy.cumsum(0).cumsum(1)[rows - 1, columns - 1]
    best = int(held.argmax())
    return int(rows[best]), int(columns[best])


def random_entries(size: int, k: int, seed: int) -> Tensor:
    """Returns k of the positions below `size`, ascending, the same on every device: int64, shape (k,)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:k].sort().values
