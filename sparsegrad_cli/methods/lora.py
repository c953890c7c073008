"""LoRA on the MLP linears, as PEFT has it; the MLP weights themselves are frozen."""

from __future__ import annotations

from collections.abc import Collection

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.optim import Optimizer

from ..core import Basis, find_mlp_linears
from .base import Method, MethodConfig, adamw, choose_trained, chosen_blocks


class LoRA(Method):
    """See `Method`. `W + B A` with `A: rank x I`, `B: O x rank`, scaled by 1 (alpha = rank), no dropout."""

    name = "lora"
    help = "LoRA: a trained product of two thin matrices beside each frozen MLP matrix."
    source = "Hu et al. 2022, arXiv:2106.09685"
    order = 10
    colour = "#c1651a"
    settings = frozenset({"rank"})

    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None:
        if config.rank is None or config.rank < 1:
            raise ValueError(f"LoRA needs a rank of at least 1, got {config.rank}")
        trained = [p for p in model.parameters() if p.requires_grad]
        places = find_mlp_linears(model, chosen_blocks(model, config.blocks))
        lora_config = LoraConfig(
            r=config.rank,
            lora_alpha=config.rank,
            lora_dropout=0.0,
            bias="none",
            target_modules=[place.name for place in places],
        )
        self._tuner = LoraModel(model, lora_config, "default")
        self.model = model
        self.weight_decay = config.weight_decay
        self.adapted = [p for name, p in model.named_parameters() if ".lora_" in name]
        frozen = {place.linear.weight for place in places}
        for p in trained:  # PEFT froze them all
            p.requires_grad_(p not in frozen)
        choose_trained(model, head, self.adapted, config.freeze_rest)

    def optimizer(self, learning_rate: float) -> Optimizer:
        """Returns AdamW of all that is trained."""
        return adamw(self.model, learning_rate, self.weight_decay)

    def merge(self) -> nn.Module:
        """Returns the model with `B A` added to its weights."""
        for layer in self.model.modules():
            if isinstance(layer, LoraLayer):  # in bfloat16 most of a small B A would be lost
                base = layer.get_base_layer()
                assert isinstance(base, nn.Linear)
                base.weight.data = base.weight.data.to(torch.promote_types(base.weight.dtype, torch.float32))
        return self._tuner.merge_and_unload()


METHOD = LoRA
