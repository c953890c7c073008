"""What a method is: a way to make a model ready for training, its optimizer, and the way back.

A method is one file in this folder, named as on the command line, that defines `METHOD`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from ..config import RunConfig
from ..core import (
    Basis,
    Form,
    SparseAdamW,
    Support,
    choose_blocks,
    find_mlp_linears,
    kept_entries,
    sparse_adamw,
)
from ..store.records import Parameters


@dataclass(frozen=True)
class Settings:
    """What a method may be told; each method reads the ones that it names in `options`."""

    freeze_rest: bool = False  # train only the adapter part and the head
    blocks: str | None = None  # whose MLP linears are adapted, such as "every:3"; None: all
    density: float | None = None  # share of each MLP matrix trained at a step
    kept: int | None = None  # the same as a number of entries
    support: Support = "dynamic"
    form: Form = "streamed"  # with the dynamic support
    accumulates: bool = False  # several backward passes make one step
    rank: int | None = None
    sparse_learning_rate: float | None = None  # of the chosen entries; None: that of the rest

    @classmethod
    def of(cls, config: RunConfig, accumulation_steps: int = 1) -> Settings:
        """Returns the settings of a run.

        Args:
            accumulation_steps: micro batches that each batch is cut into.
        """
        found = {field.name: getattr(config, field.name, None) for field in fields(cls)}
        given = {name: value for name, value in found.items() if value is not None}
        return cls(**given, accumulates=accumulation_steps > 1)


class Method(Protocol):
    """A model made ready for training by a method.

    Args of the constructor:
        model: a plain transformers model; it is changed in place.
        head: names of the parameters of the classification head, which every method trains in full.
        settings: see `Settings`.
        basis: for methods with `needs_basis`.
    """

    options: ClassVar[frozenset[str]]  # settings that it uses, besides freeze_rest and blocks
    needs_basis: ClassVar[bool]
    model: nn.Module
    adapted: list[nn.Parameter]  # what stands for the MLP linears' weights in training

    def __init__(
        self, model: nn.Module, head: Collection[str], settings: Settings, basis: Basis | None = None
    ) -> None: ...

    def optimizer(self, learning_rate: float) -> Optimizer:
        """Trains every parameter that takes gradients, without weight decay.

        All at one learning rate, unless the settings give the chosen entries their own.
        """
        ...

    def moved_at_a_step(self) -> int:
        """Number of scalars among `adapted` that one step moves."""
        ...

    def merge(self) -> nn.Module:
        """The trained model, plain again: `save_pretrained` and `from_pretrained` need nothing of ours."""
        ...


def chosen_blocks(model: nn.Module, words: str | None) -> tuple[int, ...] | None:
    """Numbers of the blocks that `words` (see `core.choose_blocks`) choose; None: all.

    Raises:
        ValueError: the model has no such blocks.
    """
    if words is None:
        return None
    return choose_blocks(words, 1 + max(place.block for place in find_mlp_linears(model)))


def mlp_weights(model: nn.Module, blocks: Collection[int] | None = None) -> list[nn.Parameter]:
    """The weights (`O x I`) of every MLP linear of `blocks`, or of all."""
    return [place.linear.weight for place in find_mlp_linears(model, blocks)]


def choose_trained(
    model: nn.Module, head: Collection[str], adapted: list[nn.Parameter], freeze_rest: bool
) -> None:
    """Leaves gradients on `adapted` and the head and, unless `freeze_rest`, on all that took them.

    What is trained is held in float32 at least: in bfloat16 most of a small update would be lost.
    """
    kept = set(adapted)
    for name, p in model.named_parameters():
        if freeze_rest:
            p.requires_grad_(p in kept or name in head)
        if p.requires_grad:
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))


def adamw(
    model: nn.Module,
    learning_rate: float,
    adapted: Collection[nn.Parameter] = (),
    adapted_learning_rate: float | None = None,
) -> Optimizer:
    """torch's fused AdamW, transformers' default, over all that takes gradients; no weight decay.

    Args:
        adapted: parameters with a learning rate of their own, where `adapted_learning_rate` gives one.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict] = [{"params": trained}]
    if adapted_learning_rate is not None:
        apart = set(adapted)
        groups = [
            {"params": [p for p in trained if p in apart], "lr": adapted_learning_rate},
            {"params": [p for p in trained if p not in apart]},
        ]
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.0, fused=True)


def masked_adamw(
    model: nn.Module, learning_rate: float, settings: Settings, blocks: Collection[int] | None
) -> SparseAdamW:
    """The optimizer of a method that chooses entries of the MLP matrices anew at each step.

    Args:
        blocks: whose MLP linears were adapted; None: all.
    """
    return sparse_adamw(
        model,
        learning_rate,
        settings.density,
        settings.kept,
        sparse_lr=settings.sparse_learning_rate,
        blocks=blocks,
    )


def kept_at_a_step(shapes: Collection[tuple[int, int]], settings: Settings) -> int:
    """Number of entries that such a method moves in one step, of matrices of these shapes."""
    return sum(kept_entries(shape, settings.kept, settings.density) for shape in shapes)


def count_parameters(method: Method, head: Collection[str], total: int, touched: int | None) -> Parameters:
    """The counts that stand beside every score.

    Args:
        total: scalars in the plain model.
        touched: see `core.touched_entries`.
    """
    adapted = set(method.adapted)
    rest = sum(p.numel() for p in method.model.parameters() if p.requires_grad and p not in adapted)
    moved = method.moved_at_a_step()
    return Parameters(
        total=total,
        trainable=moved + rest,
        adapted=moved,
        head=sum(p.numel() for name, p in method.model.named_parameters() if name in head),
        touched=touched,
    )
