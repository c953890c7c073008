"""MeProp: at each step only the largest gradient entries of each MLP matrix are trained."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import nn

from ..core import Basis, SparseAdamW, apply_meprop, find_mlp_linears, merge
from .base import Settings, choose_trained, kept_at_a_step, masked_adamw


class MeProp:
    """See `Method`. SparseGrad's selection in the original space."""

    options: ClassVar[frozenset[str]] = frozenset({"density", "kept", "sparse_learning_rate"})
    needs_basis: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.settings = settings
        # a streamed layer would step before the gradients are summed
        layers = [place.linear for place in find_mlp_linears(model)] if settings.accumulates else None
        self.adapted = [layer.weight for layer in layers or apply_meprop(model)]
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> SparseAdamW:
        return masked_adamw(self.model, learning_rate, self.settings)

    def moved_at_a_step(self) -> int:
        return kept_at_a_step(self.adapted, self.settings)

    def merge(self) -> nn.Module:
        return merge(self.model)


METHOD = MeProp
