"""Which entries of a gradient are kept."""

from __future__ import annotations

from torch import Tensor


def kept_entries(shape: tuple[int, int], kept: int | None = None, density: float | None = None) -> int:
    """Number of entries to keep of an `O x I` matrix, given as a number or as a share.

    Raises:
        ValueError: both or neither is given, or one is out of range.
    """
    size = shape[0] * shape[1]
    if (kept is None) == (density is None):
        raise ValueError("give either kept or density")
    if kept is not None:
        if not 1 <= kept <= size:
            raise ValueError(
                f"kept must be from 1 to {size} for a {shape[0]} x {shape[1]} matrix, got {kept}"
            )
        return kept
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, got {density}")
    return max(1, round(density * size))


def top_entries(G: Tensor, kept: int) -> Tensor:
    """Flat positions of the `kept` entries of `G` of largest magnitude, in no order; int64, shape (kept,)."""
    return G.abs().flatten().topk(min(kept, G.numel()), sorted=False).indices
