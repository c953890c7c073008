"""SparseGrad: the largest gradient entries are trained in a basis where the gradients are nearly sparse."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from ..core import Basis, apply_confined, apply_sparsegrad, kept_entries, merge, sparse_adamw
from .base import Settings, adamw, choose_trained


class SparseGrad:
    """See `Method`, and `core` for the supports and forms."""

    options: ClassVar[frozenset[str]] = frozenset(
        {"density", "kept", "support", "form", "calibration_steps", "basis", "sparse_learning_rate"}
    )
    needs_basis: ClassVar[bool] = True

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        if basis is None:
            raise ValueError("SparseGrad needs a basis: see core.calibrate")
        self.model = model
        self.settings = settings
        self.is_confined = settings.support != "dynamic"
        if self.is_confined:
            layers = apply_confined(model, basis, settings.support, settings.density, settings.kept)
            self.adapted = [layer.values for layer in layers]
        else:
            self.adapted = [layer.weight for layer in apply_sparsegrad(model, basis, settings.form)]
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> Optimizer:
        settings = self.settings
        if self.is_confined:
            return adamw(self.model, learning_rate, self.adapted, settings.sparse_learning_rate)
        return sparse_adamw(
            self.model,
            learning_rate,
            settings.density,
            settings.kept,
            sparse_lr=settings.sparse_learning_rate,
        )

    def moved_at_a_step(self) -> int:
        if self.is_confined:
            return sum(values.numel() for values in self.adapted)
        shapes = [tuple(p.shape) for p in self.adapted]
        return sum(kept_entries(shape, self.settings.kept, self.settings.density) for shape in shapes)

    def merge(self) -> nn.Module:
        return merge(self.model)


METHOD = SparseGrad
