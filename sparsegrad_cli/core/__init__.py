"""The method itself, in torch alone.

basis = calibrate(model, batches)                       # in which the MLP gradients are nearly sparse
applied = apply_sparsegrad(model, basis, density=0.01)  # the model computes what it did
optimizer = applied.optimizer(lr=1e-4)                  # trains 1% of each MLP matrix at a step
...                                                     # any loop: loss.backward(); optimizer.step()
applied.merge()                                         # a plain model again

A sparse update is a basis, a mask and a place: see `apply`. `SparseAdamW` also goes without it, with
parameter groups such as `{"params": weights, "k": 1000, "U": U, "V": V}`.
"""

from .apply import PLACES, Applied, Mask, Place, apply_sparsegrad
from .basis import Basis, BasisMismatchError, LayerBasis, Precision
from .calibrate import calibrate, energy_in_top, mean_squares
from .fused import FusedMLP
from .optim import SparseAdamW
from .subspace import Subspace, SubspaceLinear
from .targets import FAMILIES, MLPLinear, UnsupportedModelError, find_mlp_linears
from .topk import kept_entries

__all__ = [
    "FAMILIES",
    "PLACES",
    "Applied",
    "Basis",
    "BasisMismatchError",
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
]
