"""MeProp: at each step only the largest gradient entries of each MLP matrix are trained."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import nn

from ..core import Basis, SparseAdamW, apply_meprop, kept_entries, merge, sparse_adamw
from .base import Settings, choose_trained


class MeProp:
    """See `Method`. SparseGrad's selection in the original space."""

    options: ClassVar[frozenset[str]] = frozenset({"density", "kept", "sparse_learning_rate"})
    needs_basis: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        self.model = model
        self.settings = settings
        self.adapted = [layer.weight for layer in apply_meprop(model)]
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> SparseAdamW:
        settings = self.settings
        return sparse_adamw(
            self.model,
            learning_rate,
            settings.density,
            settings.kept,
            sparse_lr=settings.sparse_learning_rate,
        )

    def moved_at_a_step(self) -> int:
        shapes = [tuple(p.shape) for p in self.adapted]
        return sum(kept_entries(shape, self.settings.kept, self.settings.density) for shape in shapes)

    def merge(self) -> nn.Module:
        return merge(self.model)


METHOD = MeProp
