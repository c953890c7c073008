"""The method itself, in torch alone.

basis = calibrate(model, batches).basis                 # in which the MLP gradients are nearly sparse
applied = apply_sparsegrad(model, basis, density=0.01)  # the model computes what it did
optimizer = applied.optimizer(lr=1e-4)                  # trains 1% of each MLP matrix at a step
...                                                     # any loop: loss.backward(); optimizer.step()
applied.merge()                                         # a plain model again

A sparse update is a basis, a mask and a place: see `apply`. `SparseAdamW` also goes without it, with
parameter groups such as `{"params": weights, "k": 1000, "U": U, "V": V}`.
"""

from .apply import MASKS, PLACES, Applied, Mask, Place, apply_sparsegrad
from .basis import Basis, BasisMismatchError, LayerBasis, Precision
from .calibrate import Calibration, calibrate, energy_in_top, mean_squares
from .fused import FusedMLP
from .optim import SparseAdamW, touched_entries
from .subspace import Subspace, SubspaceLinear
from .targets import FAMILIES, MLPLinear, UnsupportedModelError, find_mlp_linears
from .topk import kept_entries, top_k

__all__ = [
    "FAMILIES",
    "MASKS",
    "PLACES",
    "Applied",
    "Basis",
    "BasisMismatchError",
    "Calibration",
    "FusedMLP",
    "LayerBasis",
    "MLPLinear",
    "Mask",
    "Place",
    "Precision",
    "SparseAdamW",
    "Subspace",
    "SubspaceLinear",
    "UnsupportedModelError",
    "apply_sparsegrad",
    "calibrate",
    "energy_in_top",
    "find_mlp_linears",
    "kept_entries",
    "mean_squares",
    "top_k",
    "touched_entries",
]
