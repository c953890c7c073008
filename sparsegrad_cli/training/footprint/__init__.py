"""What a run will hold and compute, from shapes alone: neither weights nor data are needed.

    weights      parameters and buffers, without the basis
    changing     those of them that training changes: a checkpoint holds them, and the moments
    basis        U and V, and what else of the basis the method keeps by it
    moments      of AdamW, and of the entries that a masked Adam has ever chosen
    gradients    all `.grad` at the end of backward
    activations  what forward keeps for backward
    peak         the most that is held at once in a step: a maximum over its phases, not a sum

Bytes of tensors, in training: what a process holds besides, for Python, its libraries, CUDA's context and
what the allocator keeps in hand, comes on top; a calibration has a peak of its own. On a CPU this is what
the allocator is measured to hold, to a few percent; of CUDA it is not checked. The streamed forms drop tokens
without a gradient, here they keep all: with few blocks they take less than is said.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...config import RunConfig
from ...core import (
    Basis,
    Corner,
    KindBasis,
    MaskedLayer,
    Rotation,
    StreamedLinear,
    chosen_from,
    find_mlp_linears,
    kept_entries,
    masked_layers,
)
from ...methods import get_method
from ...methods.base import Settings, chosen_blocks
from ...models.load import enable_gradient_checkpointing
from ...settings import Record
from ..objectives import Objective
from ..trainer import changing
from .moment_growth import MomentGrowth, moment_growth
from .rehearsal import Phase, Rehearsal, rehearse

Update = Callable[[nn.Parameter, Tensor], None]


class Footprint(Record):
    """Bytes; see the module's head."""

    weights: int
    changing: int
    basis: int
    moments: int
    gradients: int
    activations: int
    peak: int
    peak_phase: Phase


@dataclass(frozen=True)
class Costs:
    """Of one optimizer step on full batches."""

    weights: int
    changing: int
    basis: int
    moments: MomentGrowth
    rehearsal: Rehearsal

    def footprint(self, steps: int | None = None) -> Footprint:
        """The memory of the last of so many steps; None: when the moments of a masked Adam have all come."""
        found, moments = self.rehearsal, self.moments.after(steps)
        phase = max(found.peaks, key=lambda name: found.peaks[name])
        return Footprint(
            weights=self.weights,
            changing=self.changing,
            basis=self.basis,
            moments=moments,
            gradients=found.gradients,
            activations=found.activations,
            peak=found.peaks[phase] + moments,
            peak_phase=phase,
        )


def footprint(
    model: PreTrainedModel,
    objective: Objective,
    config: RunConfig,
    tokens: int | None = None,
    steps: int | None = None,
) -> Footprint:
    """The memory of a training step; see `costs` and `Costs.footprint`."""
    return costs(model, objective, config, tokens).footprint(steps)


def costs(
    model: PreTrainedModel, objective: Objective, config: RunConfig, tokens: int | None = None
) -> Costs:
    """What a step of the run holds and computes.

    Args:
        model: the objective's skeleton, on the meta device; it is not changed.
        tokens: length of the batch, padding included; None: the run's `length`.
    """
    parts = config.accumulation_steps
    head = objective.head(model)
    model = copy.deepcopy(model)
    _prepare(model, config)
    method_class = get_method(config.method)
    basis = _shapes_of_basis(model, config) if method_class.needs_basis else None
    with torch.device("meta"):
        method = method_class(model, head, Settings.of(config, parts), basis)
    masked = _masked(model, config)
    entries = {_trained(layer): _entries(layer) for layer in masked}
    moments = moment_growth(model, entries, method.moved_at_a_step() if masked else 0, config.method)
    of_basis = _bytes(b for m in model.modules() if isinstance(m, Rotation | Corner) for b in m.buffers())
    weights = _bytes([*model.parameters(), *model.buffers()]) - of_basis

    updates = {layer: _masked_update(layer, config) for layer in masked}
    for layer in [layer for layer in masked if isinstance(layer, StreamedLinear)]:
        layer.take = updates.pop(layer)

    def optimize() -> None:
        for layer, update in updates.items():
            update(_trained(layer), _trained(layer).grad)

    batch = objective.shapes(model, config.batch_size // parts, tokens or config.length)
    autocast = config.precision in ("bf16", "bf16-weights")
    found = rehearse(model, batch, config.device, autocast, parts, optimize)
    return Costs(weights, _bytes(changing(model).values()), of_basis, moments, found)


def _prepare(model: PreTrainedModel, config: RunConfig) -> None:
    """Makes `model` as a run loads it."""
    if config.precision == "bf16-weights":
        model.to(torch.bfloat16)
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # a head on a decoder looks for it


def _masked(model: nn.Module, config: RunConfig) -> list[MaskedLayer | nn.Linear]:
    """The layers of whose weights a masked Adam moves a few entries a step."""
    chooses = "kept" in get_method(config.method).options and config.support in (None, "dynamic")
    if not chooses:
        return []
    layers = masked_layers(model)
    if layers:
        return layers
    return [place.linear for place in find_mlp_linears(model, chosen_blocks(model, config.blocks))]


def _trained(layer: MaskedLayer | nn.Linear) -> nn.Parameter:
    return layer.weight if isinstance(layer, nn.Linear) else layer.trained


def _entries(layer: MaskedLayer | nn.Linear) -> int:
    """Of the gradient that is chosen from."""
    return layer.weight.numel() if isinstance(layer, nn.Linear) else math.prod(chosen_from(layer))


def _masked_update(layer: MaskedLayer | nn.Linear, config: RunConfig) -> Update:
    """What a masked Adam does to a matrix, without the moments: which of them it holds hangs on numbers."""
    rotation = layer.rotation if getattr(layer, "rotates_updates", False) else None
    form = getattr(layer, "form", None)
    kept = kept_entries(tuple(layer.weight.shape), config.kept, config.density)

    @torch.no_grad()
    def update(weight: nn.Parameter, G: Tensor) -> None:
        if form == "deferred":
            G = rotation.to_basis(G)
        elif form == "folded":
            r, c = rotation.rank
            G = G[:r, :c]
        entries = G.abs().flatten().topk(kept, sorted=False).indices
        values = G.flatten()[entries]
        if rotation is not None:
            rotation.add_update(weight, entries, values)
        else:
            weight.view(-1)[entries] += values.to(weight.dtype)

    return update


def _shapes_of_basis(model: nn.Module, config: RunConfig) -> Basis:
    """A basis without numbers, but that its energy falls along the columns, as it does: blocks are tall."""
    kinds = {}
    for place in find_mlp_linears(model, chosen_blocks(model, config.blocks)):
        O, I = place.linear.weight.shape
        r, c = (min(size, config.basis_rank or size) for size in (O, I))
        U, V, U_energy, V_energy = (torch.empty(shape, device="meta") for shape in ((I, c), (O, r), c, r))
        kinds[place.kind] = KindBasis(U, V, U_energy, V_energy, (1 / torch.arange(1, c + 1)).expand(r, c))
    return Basis(kinds)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of the storages behind `tensors`, each once; on the meta device they have no address."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())
