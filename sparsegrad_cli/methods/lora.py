"""LoRA on the MLP linears, as PEFT has it; the MLP weights themselves are frozen."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.optim import Optimizer

from ..core import Basis, find_mlp_linears
from .base import Settings, adamw, choose_trained, chosen_blocks


class LoRA:
    """See `Method`. `W + B A` with `A: rank x I`, `B: O x rank`, scaled by 1 (alpha = rank), no dropout."""

    options: ClassVar[frozenset[str]] = frozenset({"rank"})
    needs_basis: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        if settings.rank is None or settings.rank < 1:
            raise ValueError(f"LoRA needs a rank of at least 1, got {settings.rank}")
        trained = [p for p in model.parameters() if p.requires_grad]
        places = find_mlp_linears(model, chosen_blocks(model, settings.blocks))
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.rank,
            lora_dropout=0.0,
            bias="none",
            target_modules=[place.name for place in places],
        )
        self._tuner = LoraModel(model, config, "default")
        self.model = model
        self.adapted = [p for name, p in model.named_parameters() if ".lora_" in name]
        frozen = {place.linear.weight for place in places}
        for p in trained:  # PEFT froze them all
            p.requires_grad_(p not in frozen)
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> Optimizer:
        return adamw(self.model, learning_rate)

    def moved_at_a_step(self) -> int:
        return sum(p.numel() for p in self.adapted)

    def merge(self) -> nn.Module:
        for layer in self.model.modules():
            if isinstance(layer, LoraLayer):  # in bfloat16 most of a small B A would be lost
                weight = layer.get_base_layer().weight
                weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))
        return self._tuner.merge_and_unload()


METHOD = LoRA
