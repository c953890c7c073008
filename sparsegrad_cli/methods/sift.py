"""SIFT: the entries of largest mean squared gradient are chosen once and trained."""

from .sparse import SPARSE_SETTINGS, SparseMethod


class SIFT(SparseMethod):
    """See `SparseMethod`: no basis, fixed mask."""

    name = "sift"
    help = "SIFT: the entries of each MLP matrix with the largest squared gradients, chosen once."
    source = "Song et al. 2024, arXiv:2312.11875"
    order = 30
    colour = "#2b8a5a"
    settings = SPARSE_SETTINGS | {"calibration_steps"}
    mask = "fixed"


METHOD = SIFT
