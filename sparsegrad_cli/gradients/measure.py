"""The numbers and pictures of one gradient in both spaces."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Rotation, energy_in_top
from .schema import THRESHOLDS, Counts

CELLS = 64  # of a map, a side
POINTS = 60  # of a curve, at most
EXAMPLES = 16  # whose rows are kept, at most
TOP = 0.01  # share of the entries


def above(sizes: Tensor) -> tuple[int, ...]:
    """How many of `sizes` (>= 0, any shape) are above each of THRESHOLDS, as shares of the largest."""
    largest = sizes.max()
    return tuple(int((sizes > threshold * largest).sum()) for threshold in THRESHOLDS)


def counts(A: Tensor) -> Counts:
    return Counts(entries=A.numel(), above=above(A.abs()))


def numbers(dY: Tensor, X: Tensor, rotation: Rotation) -> dict[str, object]:
    """What `schema.Place` says of one gradient, from `dY` (rows x O) and `X` (rows x I)."""
    G = dY.T @ X  # O x I
    rotated = rotation.to_basis(G)
    return {
        "shape": tuple(G.shape),
        "rows": len(dY),
        "live_rows": above(dY.norm(dim=1)),
        "output": counts(dY),
        "output_rotated": counts(dY @ rotation.V),
        "weight": counts(G),
        "weight_rotated": counts(rotated),
        "energy_original": energy_in_top(G, TOP),
        "energy_rotated": energy_in_top(rotated, TOP),
    }


def pictures(dY: Tensor, x: Tensor, rotation: Rotation) -> dict[str, np.ndarray]:
    """The arrays of one gradient, as `schema` names them, from `dY` (examples x tokens x O) and `x`."""
    G = dY.flatten(0, -2).T @ x.flatten(0, -2)
    rotated = rotation.to_basis(G)
    shares, before = energy_curve(G)
    _, after = energy_curve(rotated)
    tensors = {
        "original": energy_map(G),
        "rotated": energy_map(rotated),
        "corner": rotated[:CELLS, :CELLS].abs(),
        "curve": torch.stack([shares, before, after]),
        "rows": dY[:EXAMPLES].norm(dim=-1),
    }
    return {name: tensor.float().cpu().contiguous().numpy() for name, tensor in tensors.items()}


def energy_map(G: Tensor) -> Tensor:
    """Root mean square of the entries in each of at most 64 x 64 cells of nearly equal size."""
    O, I = G.shape
    energy = F.adaptive_avg_pool2d(G.square()[None, None], (min(CELLS, O), min(CELLS, I)))
    return energy[0, 0].sqrt()


def energy_curve(G: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the entries, evenly spaced in their logarithm, and the energy in the largest so many."""
    energy = G.flatten().double().square().sort(descending=True).values.cumsum(0)
    sizes = torch.logspace(0, math.log10(len(energy)), POINTS, dtype=torch.float64).round().long().unique()
    shares = sizes.double() / len(energy)
    return shares.to(G.device), energy[sizes.to(G.device) - 1] / energy[-1]
