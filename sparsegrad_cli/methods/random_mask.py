"""A control: entries of each MLP matrix that were drawn at random are trained."""

from .sparse import SparseMethod


class RandomMask(SparseMethod):
    """See `SparseMethod`: no basis, random mask."""

    name = "random-mask"
    help = "A control: entries of each MLP matrix drawn at random, once."
    source = "the control for sift, meprop and sparsegrad"
    order = 50
    colour = "#a0a0a0"
    mask = "random"


METHOD = RandomMask
