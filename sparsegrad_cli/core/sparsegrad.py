"""SparseGrad on a whole model: put the layers in, build the optimizer, take the layers out again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from torch import nn

from .basis import Basis
from .confined import ConfinedLinear
from .corner import ConfinedSupport, Corner, confined_corner
from .linear import GradForm, SparseGradLinear
from .linears import ACTIVATIONS, MLPLinear, find_mlp_linears, replace_module
from .optimizer import SparseAdamW
from .rotation import Rotation
from .selection import kept_entries
from .streamed import StreamedLinear

Form = Literal["streamed", "lean", "corner", GradForm]
IN_BACKWARD: tuple[Form, ...] = ("streamed", "lean")  # take their step there, before gradients can be summed
FORMS: tuple[Form, ...] = (*IN_BACKWARD, "corner", *get_args(GradForm))
Support = Literal["dynamic", ConfinedSupport]
MaskedLayer = SparseGradLinear | StreamedLinear | ConfinedLinear
SUPPORTS: tuple[Support, ...] = ("dynamic", *get_args(ConfinedSupport))


def apply_sparsegrad(
    model: nn.Module, basis: Basis, form: Form = "folded", blocks: Collection[int] | None = None
) -> list[SparseGradLinear] | list[StreamedLinear] | list[ConfinedLinear]:
    """Replaces every MLP linear of `model`, in place; the model computes what it did.

    Args:
        model: any model that `find_mlp_linears` knows.
        basis: fits the model's kinds and shapes; one rotation of it serves all blocks.
        form: all train the same, at other costs:
            "folded": `weight.grad` is `G~`, the weights stay in the original space; goes with any loop.
            "deferred": folded, but the optimizer projects: once a step, however many backward passes it sums.
            "streamed": the fast one; one backward is one step, so nothing accumulates (see `streamed`).
            "lean": streamed, and the MLP's hidden layer is made again in backward: lighter, slower.
            "corner": the weights stay as they are, the sum of all updates in a truncated basis (`r x c`) is
                the parameter and has a path beside them (see `confined`); goes with any loop.
            "regular", "sparse-by-dense": the paper's, which hold `W~ = V^T W U`.
        blocks: numbers of the blocks to change; None: all.

    Raises:
        BasisMismatchError, UnsupportedModelError: see `Basis.check_fits`.
        ValueError: no such form or block, or a truncated basis in the paper's forms.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    basis.check_fits(model, blocks)
    places = find_mlp_linears(model, blocks)
    device = places[0].linear.weight.device
    if form == "corner":
        whole = {kind: Corner(b).to(device) for kind, b in basis.kinds.items()}
        return [_confine(model, place, whole[place.kind], is_dynamic=True) for place in places]
    rotations = {kind: Rotation(b.U.to(device), b.V.to(device)) for kind, b in basis.kinds.items()}
    if form in ("streamed", "lean"):
        return [_stream(model, place, rotations[place.kind], form == "lean") for place in places]
    layers = []
    for place in places:
        layer = SparseGradLinear(place.linear, rotations[place.kind], form)
        replace_module(model, place.name, layer)
        layers.append(layer)
    return layers


def apply_meprop(model: nn.Module, blocks: Collection[int] | None = None) -> list[StreamedLinear]:
    """Makes every MLP linear of `model`, or of its `blocks`, a streamed one in the original space: MeProp."""
    return [_stream(model, place, None, recompute=False) for place in find_mlp_linears(model, blocks)]


def apply_confined(
    model: nn.Module,
    basis: Basis,
    support: ConfinedSupport,
    density: float | None = None,
    kept: int | None = None,
    blocks: Collection[int] | None = None,
) -> list[ConfinedLinear]:
    """Makes every MLP linear of `model` one whose trained entries are chosen once; see `confined`.

    Any optimizer will do: what it trains of such a layer is the vector `values`.

    Args:
        model: any model that `find_mlp_linears` knows.
        basis: with the energy of each entry.
        support: "block" or "fixed".
        density: share of each MLP matrix to train, above 0 and at most 1; or
        kept: number of entries of each.
        blocks: numbers of the blocks to change; None: all.

    Raises:
        BasisMismatchError, UnsupportedModelError: see `Basis.check_fits`.
        ValueError: the basis has no energies, or a value is out of range.
    """
    basis.check_fits(model, blocks)
    places = find_mlp_linears(model, blocks)
    device = places[0].linear.weight.device
    corners = {
        kind: confined_corner(b, support, kept_entries(b.shape, kept, density, b.rank)).to(device)
        for kind, b in basis.kinds.items()
    }
    return [_confine(model, place, corners[place.kind], is_dynamic=False) for place in places]


def _confine(model: nn.Module, place: MLPLinear, corner: Corner, is_dynamic: bool) -> ConfinedLinear:
    layer = ConfinedLinear(place.linear, corner, is_dynamic)
    replace_module(model, place.name, layer)
    return layer


def _stream(model: nn.Module, place: MLPLinear, rotation: Rotation | None, recompute: bool) -> StreamedLinear:
    parent = model.get_submodule(place.name.rpartition(".")[0])
    attribute = ACTIVATIONS.get(place.kind, "")
    activation = getattr(parent, attribute, None)
    layer = StreamedLinear(place.linear, rotation, activation, recompute)
    replace_module(model, place.name, layer)
    if activation is not None:
        setattr(parent, attribute, nn.Identity())  # the layer applies it
    return layer


def sparse_adamw(
    model: nn.Module,
    lr: float,
    density: float | None = None,
    kept: int | None = None,
    weight_decay: float = 0.0,
    sparse_lr: float | None = None,
    blocks: Collection[int] | None = None,
) -> SparseAdamW:
    """The optimizer for a model that `apply_sparsegrad` has changed, or for MeProp on one that it has not.

    What stands for the MLP linears' weights is masked, all else that takes gradients is trained by AdamW.
    Streamed layers take their steps from it, each in its backward.

    Args:
        model: that `apply_sparsegrad` or `apply_meprop` has changed; else its plain MLP linears are masked.
        lr: learning rate.
        density: share of each MLP matrix to train at a step, above 0 and at most 1; or
        kept: number of entries of each.
        weight_decay: of everything else.
        sparse_lr: learning rate of the masked weights; None: `lr`.
        blocks: numbers of the blocks whose plain MLP linears are masked; None: all.
    """
    layers = masked_layers(model)
    rotated = [layer for layer in layers if not isinstance(layer, ConfinedLinear) and layer.rotates_updates]
    rotations = {layer.weight: layer.rotation for layer in rotated}
    deferred = [layer.weight for layer in layers if getattr(layer, "form", None) == "deferred"]
    if layers:
        shapes = {layer.trained: (tuple(layer.weight.shape), chosen_from(layer)) for layer in layers}
    else:
        plain = [place.linear.weight for place in find_mlp_linears(model, blocks)]
        shapes = {weight: (tuple(weight.shape), None) for weight in plain}
    by_kept: dict[int, list[nn.Parameter]] = {}
    for masked, (shape, rank) in shapes.items():
        by_kept.setdefault(kept_entries(shape, kept, density, rank), []).append(masked)
    rest = [p for p in model.parameters() if p.requires_grad and p not in shapes]
    own = {"lr": lr if sparse_lr is None else sparse_lr, "weight_decay": 0.0}
    groups: list[dict] = [{"params": params, "kept": k, **own} for k, params in by_kept.items()]
    if rest:
        groups.append({"params": rest})
    optimizer = SparseAdamW(groups, lr=lr, weight_decay=weight_decay, rotations=rotations, deferred=deferred)
    for layer in layers:
        if isinstance(layer, StreamedLinear):
            layer.take = optimizer.take
    return optimizer


def masked_layers(model: nn.Module) -> list[MaskedLayer]:
    """The layers of `model` of whose entries an optimizer chooses some at each step."""
    return [
        module
        for module in model.modules()
        if isinstance(module, SparseGradLinear | StreamedLinear)
        or (isinstance(module, ConfinedLinear) and module.is_dynamic)
    ]


def chosen_from(layer: MaskedLayer) -> tuple[int, int]:
    """Shape of the gradient of which a masked layer's entries are chosen."""
    if isinstance(layer, ConfinedLinear):
        return layer.corner.shape
    return layer.rotation.rank if layer.rotates_updates else tuple(layer.weight.shape)


def merge(model: nn.Module) -> nn.Module:
    """Puts plain linears back in place of the SparseGrad layers; the model computes what it did."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SparseGradLinear | StreamedLinear | ConfinedLinear):
            replace_module(model, name, module.dense())
            if isinstance(module, StreamedLinear) and module.activation is not None:
                parent, _, _ = name.rpartition(".")
                kind = next(kind for kind in ACTIVATIONS if name.endswith(kind))
                replace_module(model, f"{parent}.{ACTIVATIONS[kind]}", module.activation)
    return model
