"""What a training step cannot avoid: its operations and its memory traffic, counted from the modules.

A floor is the model as written, on the tokens that are there (padding is avoidable), in the form of the
method that is measured. For a linear `O x I` and `T` tokens, of which `L` have a gradient that is not exactly
zero (in the last block only the one of each sequence that the head reads), operations are

    forward        2 T O I                      attention: 4 n^2 H for a sequence of n tokens, H wide
    input's        2 L O I                      twice attention's forward; nothing before the first that is
                                                trained
    weight's       2 L O I                      where the weight is trained

and for the MLP linears in place of the weight's

    no basis                    2 L O I
    backward                    2 p to project, in the cheapest order, and to apply V dS U^T with k entries
                                the lower of 2 (k O + O c I) and 2 (k I + O r I)
    optimizer                   the same, but that it projects after the sum over tokens
    recompute                   2 L O I more for the wide one, that is made again
    adapter, dynamic mask       2 T I c + 2 v(T) + 2 v(L) for the path beside W and its weight's gradient, and
                                2 L c I and the lower of 2 L r c and 2 O c (L + r) for its input's
    adapter, other masks        2 T I c + 2 v(L) + 2 O c (r + I)
    regular, sparse-by-dense    2 L O I, and 2 (O^2 + I^2) more for each of T and of L: three factors for one
    lora, rank r                4 L r (O + I), and 2 T r (O + I) more in forward

where the basis, or what is trained of it, is r x c, p is what V^T (dY^T X) U takes in the cheapest order and
v(T) the lower of T r (O + c) and O c (T + r).

Bytes are, in float32: each weight of a linear read in forward and for its input's gradient; 32 for each
scalar that AdamW trains (gradient written and read, weight and two moments read and written); of a masked
matrix the gradient written and read, 28 for each of the k entries, and the whole of `W` read and written
where the update is `V dS U^T`; the basis read once; and what the row saves for backward, as measured, written
and read. Elementwise operations are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from ..core import cheapest_order, find_mlp_linears
from ..core.reference import REFERENCE_FORMS
from .schema import RowSpec, Work

IN_BLOCK = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
AFTER_ATTENTION = re.compile(r"attention\.output\.dense$|out_lin$|o_proj$|gate_proj$")
FLOAT, ADAMW, ENTRY = 4, 32, 28  # bytes
Ranks = dict[tuple[int, int], tuple[int, int]]  # O x I -> r x c


@dataclass(frozen=True)
class Linear:
    """A linear `O x I` of the plain model as a step meets it."""

    O: int
    I: int
    T: float  # rows in forward
    L: float  # rows with a gradient in backward
    mlp: bool
    trained: bool  # where the rest is frozen


@dataclass(frozen=True)
class Architecture:
    """The plain model on a batch, before a method changes it."""

    linears: tuple[Linear, ...]  # in the order of forward
    attention: float  # operations of its products in forward


def read_architecture(model: PreTrainedModel, head: Collection[str], lengths: Sequence[int]) -> Architecture:
    """The linears of `model` and what they meet in a batch of sequences of `lengths` tokens.

    Args:
        head: names of its parameters outside the base model.
    """
    tokens, sequences = float(sum(lengths)), float(len(lengths))
    mlp = {place.name for place in find_mlp_linears(model)}
    blocks = 1 + max(place.block for place in find_mlp_linears(model))
    linears = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        place = IN_BLOCK.search(name)
        T = L = tokens if place else sequences
        if place and int(place[1]) == blocks - 1 and (name in mlp or AFTER_ATTENTION.search(name)):
            L = sequences
        O, I = module.weight.shape
        linears.append(Linear(O, I, T, L, name in mlp, name in mlp or f"{name}.weight" in head))
    squares = float(sum(length * length for length in lengths))
    return Architecture(tuple(linears), 4 * squares * model.config.hidden_size * blocks)


@dataclass(frozen=True)
class Trained:
    """What a method trains, besides the linears' own shapes."""

    row: RowSpec
    freeze_rest: bool
    dense: int  # scalars that AdamW trains
    masked: int  # scalars of masked matrices
    kept: int  # entries of them that a step moves, over all matrices
    rank: int
    corners: Ranks  # of an adapter, or of the whole basis
    basis_bytes: int
    saved_bytes: int  # for backward, as measured


def count_work(architecture: Architecture, trained: Trained) -> Work:
    """Operations and bytes of a step; see the module's head."""
    mlps = sum(linear.mlp for linear in architecture.linears)
    operations = 3 * architecture.attention
    read = 0
    before_trained = trained.freeze_rest
    if before_trained:  # in the first block nothing before the MLP takes a gradient
        operations -= 2 * architecture.attention / max(1, mlps // 2)
    for linear in architecture.linears:
        entries = linear.O * linear.I
        needs_input_gradient = not before_trained
        before_trained = before_trained and not linear.trained
        operations += 2 * linear.T * entries + 2 * linear.L * entries * needs_input_gradient
        read += FLOAT * entries * (1 + needs_input_gradient)
        if linear.mlp:
            operations += _mlp(linear, trained, trained.kept / mlps)
        elif linear.trained or not trained.freeze_rest:
            operations += 2 * linear.L * entries
    update = 2 * FLOAT * trained.masked * (2 if _rotates(trained.row) else 1)
    moved = ADAMW * trained.dense + ENTRY * trained.kept + update
    return Work(
        operations=operations,
        bytes=float(read + moved + trained.basis_bytes + 2 * trained.saved_bytes),
    )


def _rotates(row: RowSpec) -> bool:
    """Whether an update is `V dS U^T` on the whole of W."""
    return row.basis not in (None, "none") and row.place in ("backward", "optimizer")


def _through_v(T: float, O: int, r: int, c: int) -> float:
    """Of T tokens' way between `x U_c` and y, by S and V, in the cheaper order."""
    return min(T * r * (O + c), O * c * (T + r))


def _mlp(linear: Linear, trained: Trained, kept: float) -> float:
    """Operations of an MLP linear beyond its forward and its input's gradient."""
    O, I, T, L = linear.O, linear.I, linear.T, linear.L
    row = trained.row
    if row.method == "lora":
        return (4 * L + 2 * T) * trained.rank * (O + I)
    r, c = trained.corners.get((O, I), (O, I))
    if row.place == "adapter" and row.basis != "none":
        if row.mask != "dynamic":
            return 2 * (T * I * c + _through_v(L, O, r, c) + O * c * (r + I))
        again = min(L * r * c, O * r * c + L * O * c) + L * c * I  # the input's gradient beside W
        return 2 * (T * I * c + _through_v(T, O, r, c) + _through_v(L, O, r, c) + again)
    made_again = L * O * I if row.recompute and O > I else 0
    if _rotates(row):
        at_once, after_sum = cheapest_order((r, O, L, I, c))[0], L * O * I + cheapest_order((r, O, I, c))[0]
        project = after_sum if row.place == "optimizer" else at_once
        apply = min(kept * O + O * c * I, kept * I + O * r * I)
        return 2 * (project + apply + made_again)
    factors = 2 * (T + L) * (O**2 + I**2) if row.place in REFERENCE_FORMS else 0
    return 2 * (L * O * I + made_again) + factors
