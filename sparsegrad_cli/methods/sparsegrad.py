"""SparseGrad: the largest gradient entries are trained in a basis where the gradients are nearly sparse."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from ..core import IN_BACKWARD, Basis, apply_confined, apply_sparsegrad, merge
from .base import Settings, adamw, choose_trained, chosen_blocks, kept_at_a_step, masked_adamw


class SparseGrad:
    """See `Method`, and `core` for the supports and forms."""

    options: ClassVar[frozenset[str]] = frozenset(
        {
            *("density", "kept", "support", "form", "calibration_steps", "basis", "basis_rank"),
            "sparse_learning_rate",
        }
    )
    needs_basis: ClassVar[bool] = True

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None:
        if basis is None:
            raise ValueError("SparseGrad needs a basis: see core.calibrate")
        self.model = model
        self.settings = settings
        self.blocks = blocks = chosen_blocks(model, settings.blocks)
        self.is_confined = settings.support != "dynamic"
        if self.is_confined:
            layers = apply_confined(
                model, basis, settings.support, settings.density, settings.kept, blocks=blocks
            )
            self.adapted = [layer.values for layer in layers]
        else:
            too_early = settings.accumulates and settings.form in IN_BACKWARD
            can_wait = "corner" if basis.is_truncated else "deferred"
            form = can_wait if too_early else settings.form
            layers = apply_sparsegrad(model, basis, form, blocks=blocks)
            self.adapted = [layer.trained for layer in layers]
        self.shapes = [tuple(layer.weight.shape) for layer in layers]
        choose_trained(model, head, self.adapted, settings.freeze_rest)

    def optimizer(self, learning_rate: float) -> Optimizer:
        if self.is_confined:
            return adamw(self.model, learning_rate, self.adapted, self.settings.sparse_learning_rate)
        return masked_adamw(self.model, learning_rate, self.settings, self.blocks)

    def moved_at_a_step(self) -> int:
        if self.is_confined:
            return sum(values.numel() for values in self.adapted)
        return kept_at_a_step(self.shapes, self.settings)

    def merge(self) -> nn.Module:
        return merge(self.model)


METHOD = SparseGrad
