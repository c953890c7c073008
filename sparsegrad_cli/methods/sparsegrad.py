"""SparseGrad: the largest gradient entries are trained in a basis where the gradients are nearly sparse."""

from .sparse import SPARSE_SETTINGS, SparseMethod


class SparseGrad(SparseMethod):
    """See `SparseMethod`: calibrated basis, dynamic mask."""

    name = "sparsegrad"
    help = "SparseGrad: the largest gradient entries in a calibrated basis, chosen at each step."
    source = "Chekalina et al. 2024, EMNLP, arXiv:2410.07383"
    order = 40
    colour = "#1f6fb2"
    settings = SPARSE_SETTINGS | {"basis", "basis_rank", "mask", "calibration_steps"}
    basis = "calibrated"


METHOD = SparseGrad
