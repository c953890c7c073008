"""Linear probing: the head is trained on the frozen model."""

from torch import nn

from ..errors import InputError
from .base import MethodConfig
from .part import PartMethod


class Probe(PartMethod):
    """See `PartMethod`."""

    name = "probe"
    help = "Linear probing: the head alone, on the frozen model."
    source = "Alain and Bengio 2016, arXiv:1610.01644"
    order = 1
    colour = "#7f7f7f"

    @classmethod
    def chosen(cls, model: nn.Module) -> dict[str, nn.Parameter]:
        """Returns none: the head is trained by every method."""
        return {}

    @classmethod
    def check(cls, model: nn.Module, config: MethodConfig) -> None:
        """Refuses a model without a head of its own."""
        if type(model).__name__.endswith("ForCausalLM"):
            raise InputError(f"--method {cls.name}: {type(model).__name__} has no head to be trained alone")


METHOD = Probe
