"""The method itself, in torch alone.

calibration = calibrate(model, batches)                 # a basis in which the MLP gradients are nearly sparse
apply_sparsegrad(model, calibration.basis)              # the model computes what it did
optimizer = sparse_adamw(model, lr=1e-4, density=0.01)  # trains 1% of each MLP matrix at a step
...                                                     # any loop: loss.backward(); optimizer.step()
merge(model)                                            # a plain model again
"""

from .basis import Basis, BasisMismatchError, EnergyKept, KindBasis
from .blocks import choose_blocks
from .confined import ConfinedLinear
from .corner import Corner, confined_corner
from .hosvd import Calibration, Concentration, calibrate, energy_in_top
from .linear import SparseGradLinear, sparse_by_dense
from .linears import FAMILIES, MLPLinear, UnsupportedModelError, find_mlp_linears
from .optimizer import SparseAdamW, touched_entries
from .rotation import Rotation
from .selection import kept_entries, leading_block, top_entries
from .sparsegrad import (
    FORMS,
    IN_BACKWARD,
    SUPPORTS,
    Form,
    MaskedLayer,
    Support,
    apply_confined,
    apply_meprop,
    apply_sparsegrad,
    chosen_from,
    masked_layers,
    merge,
    sparse_adamw,
)
from .streamed import StreamedLinear

__all__ = [
    "FAMILIES",
    "FORMS",
    "IN_BACKWARD",
    "SUPPORTS",
    "Basis",
    "BasisMismatchError",
    "Calibration",
    "Concentration",
    "ConfinedLinear",
    "Corner",
    "EnergyKept",
    "Form",
    "KindBasis",
    "MLPLinear",
    "MaskedLayer",
    "Rotation",
    "SparseAdamW",
    "SparseGradLinear",
    "StreamedLinear",
    "Support",
    "UnsupportedModelError",
    "apply_confined",
    "apply_meprop",
    "apply_sparsegrad",
    "calibrate",
    "choose_blocks",
    "chosen_from",
    "confined_corner",
    "energy_in_top",
    "find_mlp_linears",
    "kept_entries",
    "leading_block",
    "masked_layers",
    "merge",
    "sparse_adamw",
    "sparse_by_dense",
    "top_entries",
    "touched_entries",
]
