"""MeProp: at each step only the largest gradient entries of each MLP matrix are trained."""

from .sparse import SparseMethod


class MeProp(SparseMethod):
    """See `SparseMethod`: no basis, dynamic mask."""

    name = "meprop"
    help = "MeProp: the largest gradient entries of each MLP matrix, chosen at each step."
    source = "Sun et al. 2017, arXiv:1706.06197, as the SparseGrad paper has it"
    order = 20
    colour = "#7b4fa3"


METHOD = MeProp
