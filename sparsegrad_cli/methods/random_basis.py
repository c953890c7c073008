"""A control: SparseGrad in an orthogonal basis that was drawn at random."""

from .sparse import SPARSE_SETTINGS, SparseMethod


class RandomBasis(SparseMethod):
    """See `SparseMethod`: random basis, dynamic mask."""

    name = "random-basis"
    help = "A control: the largest gradient entries in a basis drawn at random, chosen at each step."
    source = "the control for sparsegrad"
    order = 60
    colour = "#c9a227"
    settings = SPARSE_SETTINGS | {"basis_rank"}
    basis = "random"


METHOD = RandomBasis
