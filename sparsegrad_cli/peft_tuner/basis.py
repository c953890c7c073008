"""The calibration: the basis in which the gradients of the targeted linears are nearly sparse."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .layer import SparseGradLayer

Batch = Mapping[str, Any]


def initialize_sparsegrad_basis(
    model: nn.Module,
    dataloader: Iterable[Batch],
    steps: int = 30,
    adapter_name: str = "default",
    loss_of: Callable[[nn.Module, Batch], Tensor] | None = None,
) -> None:
    """Give every SparseGrad layer the leading singular directions of its gradients.

    The matrices of one kind, such as the same linear of every block, are the slices of a 3-tensor; U and V
    are the factors of its HOSVD, summed over the batches (section 3 of the paper). No weight changes.

    Args:
        model: with an adapter whose values are zero, in the mode (train or eval) that is wanted.
        dataloader: its batches are mappings for the model's forward, labels among them; or see `loss_of`.
        steps: batches to use, at most.
        adapter_name: of the adapter whose basis is set.
        loss_of: from model and batch to a scalar; by default the loss that the model returns.

    Raises:
        ValueError: the model has no such adapter, it has been trained, or the dataloader is empty.
    """
    kinds: dict[tuple[str, torch.Size], list[SparseGradLayer]] = {}
    for name, module in model.named_modules():
        if isinstance(module, SparseGradLayer) and adapter_name in module.sparsegrad_S:
            kind = (re.sub(r"\.\d+\.", ".*.", name), module.get_base_layer().weight.shape)
            kinds.setdefault(kind, []).append(module)
    if not kinds:
        raise ValueError(f"the model has no SparseGrad layer with an adapter {adapter_name!r}")
    sums: list[tuple[Tensor, Tensor]] = []
    hooks: list[RemovableHandle] = []
    for (_, shape), layers in kinds.items():
        device = layers[0].get_base_layer().weight.device
        left, right = (torch.zeros(n, n, device=device) for n in shape)
        sums.append((left, right))
        hooks += [layer.get_base_layer().register_forward_hook(_adds_to(left, right)) for layer in layers]
    used, device = 0, next(model.parameters()).device
    try:
        for batch in islice(dataloader, steps):
            batch = {
                n: value.to(device) if isinstance(value, Tensor) else value for n, value in batch.items()
            }
            with torch.enable_grad():
                loss = loss_of(model, batch) if loss_of else model(**batch).loss
                loss.backward()
            model.zero_grad(set_to_none=True)
            used += 1
    finally:
        for hook in hooks:
            hook.remove()
    if used == 0:
        raise ValueError("the dataloader gives no batch to calibrate on")
    for (left, right), layers in zip(sums, kinds.values(), strict=True):
        U, V = _directions(right), _directions(left)
        for layer in layers:
            layer.set_basis(adapter_name, U, V)


def _adds_to(left: Tensor, right: Tensor) -> Callable[..., Tensor | None]:
    """Returns a forward hook that adds `G G^T` and `G^T G` of the weight's gradient G in backward."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        x = inputs[0].detach()
        x = x.reshape(-1, x.shape[-1]).float()

        def add(dY: Tensor) -> None:
            G = dY.reshape(-1, dY.shape[-1]).float().T @ x
            left.addmm_(G, G.T)
            right.addmm_(G.T, G)

        if not output.requires_grad:  # of the first layer, where all before it is frozen
            output = output.detach().requires_grad_()
        output.register_hook(add)
        return output

    return hook


def _directions(gram: Tensor) -> Tensor:
    """Returns the eigenvectors of a Gram matrix, those of most energy first."""
    return torch.linalg.eigh(gram.double()).eigenvectors.flip(-1).float()
