"""Full fine-tuning: every weight is trained by AdamW."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from ..core import Basis
from .base import Settings, adamw, choose_trained, chosen_blocks, mlp_weights


class FullFineTuning:
    """See `Method`. With `freeze_rest` only the MLP weights and the head are trained."""

    options: ClassVar[frozenset[str]] = frozenset()
    needs_basis: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.adapted = mlp_weights(model, chosen_blocks(model, settings.blocks))
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> Optimizer:
        return adamw(self.model, learning_rate)

    def moved_at_a_step(self) -> int:
        return sum(p.numel() for p in self.adapted)

    def merge(self) -> nn.Module:
        return self.model


METHOD = FullFineTuning
