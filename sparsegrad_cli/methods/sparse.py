"""What the sparse methods share: a basis, a mask and a place make a method (see `core.apply`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import nn

from ..config import BasisKind
from ..core import Basis, Mask, Place, SparseAdamW, apply_sparsegrad, find_mlp_linears
from .base import Calibrated, Method, MethodConfig, choose_trained, chosen_blocks

SPARSE_SETTINGS = frozenset({"density", "kept", "place", "recompute", "sparse_learning_rate"})


class SparseMethod(Method):
    """A named point of basis x mask; what it names in `settings` a run may choose otherwise."""

    settings = SPARSE_SETTINGS
    basis: ClassVar[BasisKind] = "none"
    mask: ClassVar[Mask] = "dynamic"

    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None:
        blocks = chosen_blocks(model, config.blocks)
        kind, mask = config.basis or self.basis, config.mask or self.mask
        if kind == "random":
            basis = Basis.random(model, config.seed, blocks, config.basis_rank)
        elif self.calibration(config) is None:
            basis = None
        elif basis is None:
            raise ValueError(f"{self.name} needs what a calibration measures: see core.calibrate")
        weight = find_mlp_linears(model, blocks)[0].linear.weight
        too_early = config.place == "backward" and config.accumulates  # memory ran out, so a batch was cut
        place = (None if too_early else config.place) or default_place(
            kind,
            mask,
            is_truncated=basis is not None and basis.is_truncated,
            accumulates=config.accumulates,
            half_weights=weight.dtype.itemsize < torch.float32.itemsize,
            device=weight.device.type,
        )
        self.model = model
        self.config = config
        self.applied = apply_sparsegrad(
            model,
            basis,
            mask,
            place,
            config.density,
            config.kept,
            recompute=config.recompute,
            accumulates=config.accumulates,
            blocks=blocks,
            seed=config.seed,
            precision=config.precision,
        )
        self.adapted = self.applied.adapted
        choose_trained(model, head, self.adapted, config.freeze_rest)

    @classmethod
    def calibration(cls, config: MethodConfig) -> Calibrated | None:
        """Returns what is to be measured before training; None: nothing."""
        kind, mask = config.basis or cls.basis, config.mask or cls.mask
        if kind == "none":
            return "squares" if mask == "fixed" else None
        return "basis" if kind == "calibrated" else None

    def optimizer(self, learning_rate: float) -> SparseAdamW:
        """Returns the masked Adam of the MLP matrices, and AdamW of the rest."""
        config = self.config
        return self.applied.optimizer(learning_rate, config.sparse_learning_rate, config.weight_decay)

    def moved_at_a_step(self) -> int:
        """Returns the number of entries that one step moves."""
        return self.applied.entries_per_step

    def merge(self) -> nn.Module:
        """Returns the trained model, plain again."""
        return self.applied.merge()


def default_place(
    basis: BasisKind,
    mask: Mask,
    *,
    is_truncated: bool,
    accumulates: bool,
    half_weights: bool,
    device: str,
) -> Place:
    """Returns the place that costs least where the user chose none.

    Args:
        is_truncated: the basis is.
        accumulates: several backward passes make one step.
        half_weights: the model is held in bfloat16.
        device: its type.
    """
    if basis != "none" and (mask != "dynamic" or (is_truncated and (accumulates or half_weights))):
        return "adapter"  # which never makes an O x I gradient
    return "optimizer" if accumulates or device == "cuda" else "backward"
