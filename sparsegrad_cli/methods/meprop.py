"""MeProp: at each step only the largest gradient entries of each MLP matrix are trained."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import nn

from ..core import Basis, SparseAdamW, apply_meprop, merge
from .base import Settings, choose_trained, chosen_blocks, kept_at_a_step, masked_adamw, mlp_weights


class MeProp:
    """See `Method`. SparseGrad's selection in the original space."""

    options: ClassVar[frozenset[str]] = frozenset({"density", "kept", "sparse_learning_rate"})
    needs_basis: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.settings = settings
        self.blocks = chosen_blocks(model, settings.blocks)
        # a streamed layer would step before the gradients are summed
        if settings.accumulates:
            self.adapted = mlp_weights(model, self.blocks)
        else:
            self.adapted = [layer.weight for layer in apply_meprop(model, self.blocks)]
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> SparseAdamW:
        return masked_adamw(self.model, learning_rate, self.settings, self.blocks)

    def moved_at_a_step(self) -> int:
        return kept_at_a_step([tuple(p.shape) for p in self.adapted], self.settings)

    def merge(self) -> nn.Module:
        return merge(self.model)


METHOD = MeProp
