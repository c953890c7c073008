"""Full fine-tuning: every weight is trained by AdamW."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from torch.optim import Optimizer

from ..core import Basis, find_mlp_linears
from .base import Method, MethodConfig, adamw, choose_trained, chosen_blocks


class FullFineTuning(Method):
    """See `Method`. With `freeze_rest` only the MLP weights and the head are trained."""

    name = "ft"
    help = "Full fine-tuning: every weight is trained by AdamW."
    source = "Devlin et al. 2019, arXiv:1810.04805"
    order = 0
    colour = "#444444"
    settings = frozenset()

    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.weight_decay = config.weight_decay
        places = find_mlp_linears(model, chosen_blocks(model, config.blocks))
        weights = {place.linear.weight for place in places}
        self.adapted = [p for p in model.parameters() if p in weights]
        choose_trained(model, head, self.adapted, config.freeze_rest)

    def optimizer(self, learning_rate: float) -> Optimizer:
        """Returns AdamW of all that is trained."""
        return adamw(self.model, learning_rate, self.weight_decay)

    def merge(self) -> nn.Module:
        """Returns the model, which is plain all along."""
        return self.model


METHOD = FullFineTuning
