"""What a run will hold and compute, from shapes alone: neither weights nor data are needed.

    weights      parameters and buffers, without the basis
    basis        U and V, and what else of the basis the method keeps by it
    moments      of AdamW, and of the entries that a masked Adam has ever chosen
    gradients    all `.grad` at the end of backward
    activations  what forward keeps for backward
    peak         the most that is held at once in a step: a maximum over its phases, not a sum

Bytes of tensors: what a process holds besides, for Python, its libraries, CUDA's context and what the
allocator keeps in hand, comes on top. On a CPU this is what the allocator is measured to hold, to a few
percent; of CUDA it is not checked. The streamed forms drop tokens without a gradient, here they keep all:
with few blocks they take less than is said.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...core import (
    Basis,
    Corner,
    KindBasis,
    Rotation,
    SparseGradLinear,
    StreamedLinear,
    find_mlp_linears,
    kept_entries,
)
from ...methods import get_method
from ...models.random import head_parameters
from ...store.schema import Record, RunConfig
from ..plan import settings_of
from .moment_growth import MomentGrowth, moment_growth
from .rehearsal import Batch, Phase, Rehearsal, rehearse

MaskedLayer = SparseGradLinear | StreamedLinear


class Footprint(Record):
    """Bytes; see the module's head."""

    weights: int
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
    basis: int
    moments: MomentGrowth
    rehearsal: Rehearsal

    def footprint(self, steps: int | None = None) -> Footprint:
        """The memory of the last of so many steps; None: when the moments of a masked Adam have all come."""
        found, moments = self.rehearsal, self.moments.after(steps)
        phase = max(found.peaks, key=lambda name: found.peaks[name])
        return Footprint(
            weights=self.weights,
            basis=self.basis,
            moments=moments,
            gradients=found.gradients,
            activations=found.activations,
            peak=found.peaks[phase] + moments,
            peak_phase=phase,
        )


def footprint(
    model: PreTrainedModel, config: RunConfig, tokens: int | None = None, steps: int | None = None
) -> Footprint:
    """The memory of a training step; see `costs` and `Costs.footprint`."""
    return costs(model, config, tokens).footprint(steps)


def costs(model: PreTrainedModel, config: RunConfig, tokens: int | None = None) -> Costs:
    """What a step of the run holds and computes.

    Args:
        model: on the meta device (`models.skeleton`); it is not changed.
        tokens: length of the batch, padding included; None: the run's `length`.
    """
    parts = config.accumulation_steps or 1
    head = head_parameters(model)
    model = copy.deepcopy(model)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # a head on a decoder looks for it
    method_class = get_method(config.method)
    basis = _shapes_of_basis(model) if method_class.needs_basis else None
    with torch.device("meta"):
        method = method_class(model, head, settings_of(config, parts), basis)
    masked = [layer for layer in model.modules() if isinstance(layer, MaskedLayer)]
    matrices = [layer.weight for layer in masked]
    moments = moment_growth(model, matrices, method.moved_at_a_step() if masked else 0, config.method)
    of_basis = _bytes(b for m in model.modules() if isinstance(m, Rotation | Corner) for b in m.buffers())
    weights = _bytes([*model.parameters(), *model.buffers()]) - of_basis

    updates = {layer: _masked_update(layer, config) for layer in masked}
    streamed = [layer for layer in masked if isinstance(layer, StreamedLinear)]
    for layer in streamed:
        layer.take = updates.pop(layer)

    def optimize() -> None:
        for layer, update in updates.items():
            update(layer.weight, layer.weight.grad)

    shape = (config.batch_size // parts, tokens or config.length)
    labels = torch.float32 if model.config.num_labels == 1 else torch.int64
    batch: Batch = {
        "input_ids": (shape, torch.int64),
        "attention_mask": (shape, torch.int64),
        "labels": (shape[:1], labels),
    }
    found = rehearse(model, batch, config.device, config.precision == "bf16", parts, optimize)
    return Costs(weights, of_basis, moments, found)


def _masked_update(layer: MaskedLayer, config: RunConfig) -> Callable[[nn.Parameter, Tensor], None]:
    """What a masked Adam does to a matrix, without the moments: which of them it holds hangs on numbers."""
    folds = layer.rotation is not None and getattr(layer, "form", "folded") == "folded"
    kept = kept_entries(tuple(layer.weight.shape), config.kept, config.density)

    @torch.no_grad()
    def update(weight: nn.Parameter, G: Tensor) -> None:
        entries = G.abs().flatten().topk(kept, sorted=False).indices
        values = G.flatten()[entries]
        if folds:
            layer.rotation.add_update(weight, entries, values)
        else:
            weight.view(-1)[entries] += values.to(weight.dtype)

    return update


def _shapes_of_basis(model: nn.Module) -> Basis:
    """A basis without numbers, but that its energy falls along the columns, as it does: blocks are tall."""
    kinds = {}
    for place in find_mlp_linears(model):
        O, I = place.linear.weight.shape
        U, V, U_energy, V_energy = (torch.empty(shape, device="meta") for shape in ((I, I), (O, O), I, O))
        kinds[place.kind] = KindBasis(U, V, U_energy, V_energy, (1 / torch.arange(1, I + 1)).expand(O, I))
    return Basis(kinds)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of the storages behind `tensors`, each once; on the meta device they have no address."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())
