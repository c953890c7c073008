"""What a method is: a way to make a model ready for training, its optimizer, and the way back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from ..config import BasisKind, OptimizerName, RunConfig, Target
from ..core import Basis, Mask, Place, Precision, find_mlp_linears
from ..core.targets import check_blocks
from ..store.records import Parameters

# what is measured before training: a basis, or mean squared or mean gradients of each matrix
Calibrated = Literal["basis", "squares", "gradients"]
Shape = tuple[int, int]  # O x I
# of products with the basis beside a run's own, on CUDA
ROTATION_PRECISION: dict[str, Precision] = {
    "fp32": "tf32",
    "tf32": "tf32",
    "bf16": "bf16",
    "bf16-weights": "bf16",
}


@dataclass(frozen=True)
class MethodConfig:
    """The settings of a run that a method may read; each reads those that it names in `settings`."""

    freeze_rest: bool = False  # train only the adapted part and the head
    blocks: str | None = None  # whose MLP linears are adapted, such as "every:3"; None: all
    density: float | None = None  # share of each MLP matrix that is trained at a step
    kept: int | None = None  # the same as a number of entries
    basis: BasisKind | None = None  # None: the method's own
    basis_rank: int | None = None  # leading directions of a random basis; a calibrated one has its own
    mask: Mask | None = None  # None: the method's own
    place: Place | None = None  # None: the one that suits, see `sparse.default_place`
    recompute: bool = False  # place "backward": make the hidden layer again rather than keep it
    precision: Precision = "ieee"  # of products with the basis on CUDA
    accumulates: bool = False  # several backward passes make one step
    rank: int | None = None
    target: Target = "mlp"  # the linears of a block that PEFT's methods adapt
    optimizer: OptimizerName = "adamw"  # of full fine-tuning
    sizes_only: bool = False  # the weights have no numbers: what begins from them may begin anyhow
    steps: int | None = None  # optimizer steps of the run, at most; None: not known
    sparse_learning_rate: float | None = None  # of the chosen entries; None: that of the rest
    weight_decay: float = 0.0  # decoupled, of everything but entries that a mask chooses
    seed: int = 0  # of random bases and masks

    @classmethod
    def of(cls, config: RunConfig, accumulation_steps: int = 1, steps: int | None = None) -> MethodConfig:
        """Returns the settings of a run.

        Args:
            accumulation_steps: micro batches that each batch is cut into.
            steps: optimizer steps, at most.
        """
        found = {field.name: getattr(config, field.name, None) for field in fields(cls)}
        given = {name: value for name, value in found.items() if value is not None}
        if config.basis is not None and config.basis not in get_args(BasisKind):
            given["basis"] = "calibrated"  # a file
        precision = ROTATION_PRECISION[config.precision]
        known = {"precision": precision, "accumulates": accumulation_steps > 1, "steps": steps}
        return cls(**given | known)


class Method(ABC):
    """A model made ready for training by a method.

    Args:
        model: a plain transformers model; it is changed in place.
        head: names of the parameters of the classification head, which every method trains in full.
        config: see `MethodConfig`.
        basis: what `calibration` asks for.
    """

    name: ClassVar[str]
    help: ClassVar[str]  # one sentence
    source: ClassVar[str]  # where it was published
    order: ClassVar[int]  # in tables
    colour: ClassVar[str]  # in plots
    settings: ClassVar[frozenset[str]]  # that it reads, beside freeze_rest, blocks, weight_decay and seed
    fixed: ClassVar[Mapping[str, Any]] = {}  # settings that every run of the method has, and their values
    revision: ClassVar[str | None] = None  # SHA-256 of the file that the method is read from

    model: nn.Module
    adapted: list[nn.Parameter]  # what stands for the MLP linears' weights in training

    @abstractmethod
    def __init__(
        self, model: nn.Module, head: Collection[str], config: MethodConfig, basis: Basis | None = None
    ) -> None: ...

    @classmethod
    def calibration(cls, config: MethodConfig) -> Calibrated | None:
        """Returns what is to be measured before training; None: nothing."""
        return None

    @classmethod
    def check(cls, model: nn.Module, config: MethodConfig) -> None:
        """Refuses, before anything is trained, what the method cannot do.

        Args:
            model: on the meta device; it is not changed.

        Raises:
            InputError: says what, and what would be right.
        """
        return

    @abstractmethod
    def optimizer(self, learning_rate: float) -> Optimizer:
        """Returns the optimizer of every parameter that takes gradients.

        All have one learning rate, unless the config gives the chosen entries their own.
        """

    def moved_at_a_step(self) -> int:
        """Returns the number of scalars among `adapted` that one step moves."""
        return sum(p.numel() for p in self.adapted)

    @abstractmethod
    def merge(self) -> nn.Module:
        """Returns the trained model, plain again: `save_pretrained` needs nothing of ours."""


def chosen_blocks(model: nn.Module, words: str | None) -> tuple[int, ...] | None:
    """Returns the numbers of the blocks, ascending, that `words` choose; None: all.

    Args:
        words: all, every:3 (blocks 0, 3, 6, ...) or numbers such as "0-3,8".

    Raises:
        ValueError: other words, or a block that the model does not have or that is given twice.
    """
    if words is None:
        return None
    count = 1 + max(place.block for place in find_mlp_linears(model))
    every = re.fullmatch(r"every:([1-9]\d*)", words)
    if words == "all" or every:
        return tuple(range(0, count, int(every[1]) if every else 1))
    chosen: list[int] = []
    for part in words.split(","):
        span = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if span is None:
            raise ValueError(
                f'blocks are chosen by all, every:3 (blocks 0, 3, 6, ...) or numbers such as "0-3,8", '
                f"not by {words!r}"
            )
        first, last = int(span[1]), int(span[2] or span[1])
        if last < first:
            raise ValueError(f"a range of blocks goes up, as {last}-{first}; got {part.strip()}")
        check_blocks((last,), count)
        chosen += range(first, last + 1)
    twice = sorted({block for block in chosen if chosen.count(block) > 1})
    if twice:
        raise ValueError(f"block {twice[0]} is given twice in {words!r}")
    return tuple(sorted(chosen))


_IN_BLOCK = re.compile(r"(?:^|\.)layers?\.(\d+)\..*")
_ATTENTION = re.compile(r"\.(attention|self_attn|attn)\.")


def target_linears(
    model: nn.Module, target: Target, blocks: Collection[int] | None = None
) -> dict[str, nn.Linear]:
    """Returns the linears of a model that are adapted, by name and in order.

    Args:
        target: the MLP's as `core.find_mlp_linears` has them, those of attention, or all of a block.
        blocks: numbers of the blocks to look at; None: all.
    """
    if target == "mlp":
        return {place.name: place.linear for place in find_mlp_linears(model, blocks)}
    found = {}
    for name, module in model.named_modules():
        block = _IN_BLOCK.search(name)
        if not isinstance(module, nn.Linear) or block is None:
            continue
        if blocks is not None and int(block[1]) not in blocks:
            continue
        if target == "all" or _ATTENTION.search(name):
            found[name] = module
    return found


def choose_trained(
    model: nn.Module, head: Collection[str], adapted: Collection[nn.Parameter], freeze_rest: bool
) -> None:
    """Leave gradients on `adapted` and the head and, unless `freeze_rest`, on all that took them.

    What is trained is held in float32 at least: in bfloat16 most of a small update would be lost.
    """
    kept = set(adapted)
    for name, p in model.named_parameters():
        if freeze_rest:
            p.requires_grad_(p in kept or name in head)
        if p.requires_grad:
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> Optimizer:
    """Returns torch's fused AdamW, transformers' default, over all that takes gradients."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay, fused=True)


def touched_entries(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> int:
    """Returns the number of entries of `params` that an Adam of any kind has moved at least once.

    Once an entry has had a gradient its second moment stays above zero; before, it is zero.
    """
    states = (optimizer.state[p] for p in params if p in optimizer.state)
    return sum(int(torch.count_nonzero(state["exp_avg_sq"])) for state in states if state)


def count_parameters(method: Method, head: Collection[str], total: int, touched: int | None) -> Parameters:
    """Returns the counts that stand beside every score.

    Args:
        total: scalars in the plain model.
        touched: see `touched_entries`.
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
