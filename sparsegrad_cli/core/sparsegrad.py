"""SparseGrad on a whole model: put the layers in, build the optimizer, take the layers out again."""

from __future__ import annotations

from torch import nn

from .basis import Basis, Rotation
from .linear import Form, SparseGradLinear
from .linears import find_mlp_linears, replace_module
from .optimizer import SparseAdamW
from .selection import kept_entries


def apply_sparsegrad(model: nn.Module, basis: Basis, form: Form = "folded") -> list[SparseGradLinear]:
    """Replaces every MLP linear of `model`, in place; the model computes what it did.

    Args:
        model: any model that `find_mlp_linears` knows.
        basis: fits the model's kinds and shapes; one rotation of it serves all blocks.
        form: "folded" leaves the model's weights as they are; the others hold `W~ = V^T W U`.

    Raises:
        BasisMismatchError, UnsupportedModelError: see `Basis.check_fits`.
    """
    basis.check_fits(model)
    places = find_mlp_linears(model)
    device = places[0].linear.weight.device
    rotations = {kind: Rotation(b.U.to(device), b.V.to(device)) for kind, b in basis.kinds.items()}
    layers = []
    for place in places:
        layer = SparseGradLinear(place.linear, rotations[place.kind], form)
        replace_module(model, place.name, layer)
        layers.append(layer)
    return layers


def sparse_adamw(
    model: nn.Module,
    lr: float,
    density: float | None = None,
    kept: int | None = None,
    weight_decay: float = 0.0,
) -> SparseAdamW:
    """The optimizer for a model that `apply_sparsegrad` has changed, or for MeProp on one that it has not.

    The weights of the MLP linears are masked, everything else that takes gradients is trained by AdamW at
    the same learning rate.

    Args:
        model: with SparseGradLinear layers; without any, its plain MLP linears are masked (MeProp).
        lr: learning rate.
        density: share of each MLP matrix to train at a step, above 0 and at most 1; or
        kept: number of entries of each.
        weight_decay: of everything else.
    """
    layers = [module for module in model.modules() if isinstance(module, SparseGradLinear)]
    rotations = {layer.weight: layer.rotation for layer in layers if layer.form == "folded"}
    weights = [layer.weight for layer in layers] or [p.linear.weight for p in find_mlp_linears(model)]
    by_kept: dict[int, list[nn.Parameter]] = {}
    for weight in weights:
        by_kept.setdefault(kept_entries(tuple(weight.shape), kept, density), []).append(weight)
    masked = set(weights)
    rest = [p for p in model.parameters() if p.requires_grad and p not in masked]
    groups: list[dict] = [{"params": params, "kept": k} for k, params in by_kept.items()]
    for group in groups:
        group["weight_decay"] = 0.0
    if rest:
        groups.append({"params": rest})
    return SparseAdamW(groups, lr=lr, weight_decay=weight_decay, rotations=rotations)


def merge(model: nn.Module) -> nn.Module:
    """Puts plain linears back in place of the SparseGrad layers; the model computes what it did."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SparseGradLinear):
            replace_module(model, name, module.dense())
    return model
