"""A sparse update on a whole model: choose basis, mask and place; build the optimizer; merge.

basis   where entries are chosen: a `Basis`, or None for the original space
mask    which: "dynamic", the k largest of each step's gradient; or once and for all, "fixed", those of
        the highest mean energy in the calibration, "block", the leading block that holds the most energy
        in k entries, or "random"
place   where the step is taken, at different costs; all places train the same:
        "optimizer"  after backward, on plain linears, all matrices of a kind at once; sums over
                     accumulation and goes with any loop
        "backward"   inside backward, one matrix at a time; the lightest; one backward is one step
        "adapter"    on a parameter of its own beside W; see `subspace`
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .basis import Basis, LayerBasis, Precision
from .fused import FusedMLP, fuse
from .optim import SparseAdamW
from .subspace import Subspace, SubspaceLinear, merge_values
from .targets import MLPLinear, find_mlp_linears, replace_module
from .topk import kept_entries, leading_block, random_entries, top_k

Mask = Literal["dynamic", "fixed", "block", "random"]
Place = Literal["optimizer", "backward", "adapter"]
MASKS: tuple[Mask, ...] = get_args(Mask)
PLACES: tuple[Place, ...] = get_args(Place)

GROUP = 4  # blocks whose matrices are updated together where not all their gradients may live at once
SPREAD = 4  # columns of U for the mask "fixed" are at most so many times k / r: they are what backward costs


@dataclass(frozen=True)
class Applied:
    """A model that is ready to be trained in a few entries of its MLP matrices."""

    model: nn.Module  # changed in place
    groups: list[dict[str, Any]]  # masked parameter groups for `SparseAdamW`
    entries_per_step: int  # that move, of all matrices
    layers: list[nn.Module]  # that were put in; none in the place "optimizer"
    steps_in_backward: bool = False  # see `accumulates` of `apply_sparsegrad`

    @property
    def adapted(self) -> list[nn.Parameter]:
        """The trained parameters that stand for the MLP weights."""
        return [p for group in self.groups for p in group["params"]]

    def optimizer(
        self, lr: float | Tensor, sparse_lr: float | Tensor | None = None, weight_decay: float = 0.0
    ) -> SparseAdamW:
        """Returns the optimizer of every parameter that takes gradients.

        The adapted ones have the learning rate `sparse_lr` (None: `lr`), all others the `weight_decay`.
        """
        own = {"lr": lr if sparse_lr is None else sparse_lr, "weight_decay": 0.0}
        adapted = set(self.adapted)
        rest = [p for p in self.model.parameters() if p.requires_grad and p not in adapted]
        groups = [{**group, **own} for group in self.groups] + ([{"params": rest}] if rest else [])
        optimizer = SparseAdamW(groups, lr=lr, weight_decay=weight_decay)
        if self.steps_in_backward:
            optimizer.step_in_backward()
        merging = []
        for layer in self.layers:
            if isinstance(layer, FusedMLP):
                layer.step = optimizer.step_from
            elif isinstance(layer, SubspaceLinear) and layer.merge_each_step:
                layer.has_hook = True
                merging.append(layer)
        if merging:
            optimizer.register_step_post_hook(lambda *_: merge_values(merging))
        return optimizer

    def merge(self) -> nn.Module:
        """Returns the trained model with its plain linears in place again; it computes what it did."""
        for name, module in list(self.model.named_modules()):
            if callable(restore := getattr(module, "restore", None)):
                restore(self.model, name)
        return self.model


def apply_sparsegrad(
    model: nn.Module,
    basis: Basis | None = None,
    mask: Mask = "dynamic",
    place: Place = "optimizer",
    density: float | None = None,
    kept: int | None = None,
    *,
    recompute: bool = False,
    accumulates: bool = True,
    blocks: Collection[int] | None = None,
    seed: int = 0,
    precision: Precision = "ieee",
) -> Applied:
    """Let every MLP linear of `model` be trained in a few of its entries; the model computes what it did.

    Args:
        basis: fits the model's kinds and shapes. None, or one without directions: the original space.
        mask, place: see this module's head. "fixed" and "block" need a basis with energies, "fixed" in the
            original space one with squares. In "adapter", weights of at least float32 follow a mask that was
            chosen once at each step; otherwise they stay as they are until `merge`.
        density: share of each MLP matrix to train at a step, above 0 and at most 1; or
        kept: number of entries of each.
        recompute: place "backward": make the MLP's hidden layer again in backward; lighter and slower.
        accumulates: place "optimizer": gradients of several backward passes are summed, or read by others. If
            not, a few blocks at a time are updated in backward, and the gradients of all never live together.
        blocks: numbers of the blocks to change; None: all.
        seed: of the mask "random".
        precision: of products with U and V on CUDA.

    Raises:
        BasisMismatchError, UnsupportedModelError: see `Basis.check_fits`.
        ValueError: no such mask, place or block; a basis that the mask cannot use; or a value out of range.
    """
    for name, value, known in (("mask", mask, MASKS), ("place", place, PLACES)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    basis = basis or Basis({})
    basis.check_fits(model, blocks)
    kinds: dict[str, list[MLPLinear]] = {}
    for found in find_mlp_linears(model, blocks):
        kinds.setdefault(found.kind, []).append(found)
    groups: list[dict[str, Any]] = []
    layers: list[nn.Module] = []
    entries_per_step = 0
    for number, (kind, places) in enumerate(kinds.items()):
        weights = [found.linear.weight for found in places]
        (O, I), device = weights[0].shape, weights[0].device
        own = basis.kinds.get(kind)
        k = kept_entries((O, I), kept, density, None if own is None else own.rank)
        seeds = range(seed + 7919 * number, seed + 7919 * number + len(places))
        squares = [basis.squares[found.name] for found in places if basis.squares]
        (r, c), entries = _chosen_once(mask, (O, I), own, squares, k, seeds)
        entries = None if entries is None else entries.to(device)
        per_matrix = k if mask == "dynamic" else r * c if entries is None else entries.shape[1]
        entries_per_step += per_matrix * len(places)
        directions = (None, None) if own is None else (own.U[:, :c], own.V[:, :r])
        U, V = (None if A is None else A.to(device).T.contiguous().T for A in directions)  # by columns
        batch = 1
        if device.type == "cuda" and place != "backward":
            batch = GROUP if place == "optimizer" and not accumulates else len(places)
        group: dict[str, Any] = {"batch": batch, "precision": precision}
        group["k"] = k if mask == "dynamic" else None
        if place == "adapter":
            subspace = Subspace((r, c), U, V, precision).to(device)
            merges = mask != "dynamic" and weights[0].dtype.itemsize >= torch.float32.itemsize
            group["params"] = []
            for row, found in enumerate(places):
                own_entries = None if entries is None else entries[row]
                layer = SubspaceLinear(found.linear, subspace, own_entries, merges)
                replace_module(model, found.name, layer)
                layers.append(layer)
                group["params"].append(layer.values)
        else:
            group |= {"params": weights, "U": U, "V": V, "entries": entries}
        groups.append(group)
    if place == "backward":
        layers = fuse(model, [found for places in kinds.values() for found in places], recompute)
    return Applied(model, groups, entries_per_step, layers, place == "optimizer" and not accumulates)


def _chosen_once(
    mask: Mask, shape: tuple[int, int], basis: LayerBasis | None, squares: list[Tensor], k: int, seeds: range
) -> tuple[tuple[int, int], Tensor | None]:
    """Returns the shape of the corner that is used, and the entries in it for each matrix of a kind.

    The entries are None where they are not chosen once, or all of the corner.
    """
    r, c = shape if basis is None else basis.rank
    if mask == "dynamic":
        return (r, c), None
    if mask == "random":
        return (r, c), torch.stack([random_entries(r * c, k, seed) for seed in seeds])
    if basis is None:
        if mask == "block":
            raise ValueError("the mask block needs a basis: in the original space no block leads")
        if not squares:
            raise ValueError("the mask fixed needs squared gradients of the calibration: see mean_squares")
        return (r, c), torch.stack([top_k(square, k).sort().values for square in squares])
    if basis.energy is None:
        raise ValueError(f"the mask {mask} needs a basis with energies: calibrate with probe_steps above 0")
    c = min(c, math.ceil(SPREAD * k / r))
    if mask == "block":
        return leading_block(basis.energy[:, :c], k), None
    return (r, c), top_k(basis.energy[:, :c], k).sort().values.expand(len(seeds), -1)
