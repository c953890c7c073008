"""LayerNorm tuning: gain and shift of every normalization are trained, and nothing else but the head."""

from torch import nn

from .part import PartMethod


class LayerNormTuning(PartMethod):
    """See `PartMethod`; RMSNorm counts too."""

    name = "layernorm"
    help = "LayerNorm tuning: the gain and shift of every normalization, and the head."
    source = "Zhao et al. 2024, arXiv:2312.11420"
    order = 2
    colour = "#e377c2"

    @classmethod
    def chosen(cls, model: nn.Module) -> dict[str, nn.Parameter]:
        """Returns the parameters of modules whose class is a normalization by its name."""
        norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
        return {
            f"{norm}.{name}": p
            for norm in norms
            for name, p in model.get_submodule(norm).named_parameters(recurse=False)
        }


METHOD = LayerNormTuning
