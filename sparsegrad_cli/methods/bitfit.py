"""BitFit: every bias of the model is trained, and nothing else but the head."""

from torch import nn

from .part import PartMethod


class BitFit(PartMethod):
    """See `PartMethod`."""

    name = "bitfit"
    help = "BitFit: every bias of the model, and the head."
    source = "Ben Zaken et al. 2022, arXiv:2106.10199"
    order = 3
    colour = "#8c564b"

    @classmethod
    def chosen(cls, model: nn.Module) -> dict[str, nn.Parameter]:
        """Returns the biases."""
        return {name: p for name, p in model.named_parameters() if name.endswith("bias")}


METHOD = BitFit
