"""The paper's own layer, which holds `W~ = V^T W U`: for comparison only, in `bench` and in tests.

    y  = ((x U) W~^T) V^T + b             three products at every forward
    G~ = (dY V)^T (x U)                   the gradient of W~

Two forms of its backward train the same: "regular", and "sparse-by-dense", where the all-zero rows and
columns of dY are dropped (paper, section 3.2).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..core.apply import Applied
from ..core.basis import Basis, LayerBasis
from ..core.targets import find_mlp_linears, replace_module
from ..core.topk import kept_entries

ReferenceForm = Literal["regular", "sparse-by-dense"]
REFERENCE_FORMS: tuple[ReferenceForm, ...] = get_args(ReferenceForm)


def apply_reference(
    model: nn.Module,
    basis: Basis,
    form: ReferenceForm = "regular",
    density: float | None = None,
    kept: int | None = None,
    blocks: Collection[int] | None = None,
) -> Applied:
    """Replace every MLP linear of `model` by the paper's layer, as `apply_sparsegrad` does by ours.

    Raises:
        BasisMismatchError, UnsupportedModelError: see `Basis.check_fits`.
        ValueError: a truncated basis, no such form, or a value out of range.
    """
    if form not in REFERENCE_FORMS:
        raise ValueError(f"form must be one of {', '.join(REFERENCE_FORMS)}, got {form!r}")
    if basis.is_truncated:
        raise ValueError(f"the {form} form holds V^T W U, and a truncated basis would lose the rest of W")
    basis.check_fits(model, blocks)
    held: dict[str, LayerBasis] = {}
    groups: dict[str, dict[str, Any]] = {}
    layers: list[nn.Module] = []
    for place in find_mlp_linears(model, blocks):
        if place.kind not in held:
            b, device = basis.kinds[place.kind], place.linear.weight.device
            held[place.kind] = replace(b, U=b.U.to(device), V=b.V.to(device))
            groups[place.kind] = {"params": [], "k": kept_entries(b.shape, kept, density)}
        layer = ReferenceLinear(place.linear, held[place.kind], form)
        groups[place.kind]["params"].append(layer.weight)
        replace_module(model, place.name, layer)
        layers.append(layer)
    moved = sum(group["k"] * len(group["params"]) for group in groups.values())
    return Applied(model, list(groups.values()), moved, layers)


class ReferenceLinear(nn.Module):
    """Drop-in for `nn.Linear`, `O x I`, that holds its weight in the basis."""

    U: Tensor
    V: Tensor

    def __init__(self, linear: nn.Linear, basis: LayerBasis, form: ReferenceForm) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.form = form
        self.register_buffer("U", basis.U, persistent=False)
        self.register_buffer("V", basis.V, persistent=False)
        W = basis.to_basis(linear.weight.detach())
        self.weight = nn.Parameter(W.to(linear.weight.dtype), requires_grad=linear.weight.requires_grad)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.form == "sparse-by-dense":
            return _SparseByDense.apply(x, self.weight, self.bias, self.U, self.V)
        return F.linear(
            F.linear(F.linear(x, self.U.T.to(x.dtype)), self.weight), self.V.to(x.dtype), self.bias
        )

    def restore(self, model: nn.Module, name: str) -> None:
        """Put the plain linear that computes the same into `model`, where this one stands at `name`."""
        W = (self.V @ self.weight.detach().to(self.V.dtype) @ self.U.T).to(self.weight.dtype)
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(W, requires_grad=self.weight.requires_grad)
        linear.bias = self.bias
        replace_module(model, name, linear)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, form={self.form}"


class _SparseByDense(torch.autograd.Function):
    """The paper's three factors, with its sparse-by-dense products in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, U: Tensor, V: Tensor) -> Tensor:
        xU = x @ U.to(x.dtype)
        ctx.save_for_backward(xU, weight, U, V)
        return F.linear(xU @ weight.to(x.dtype).T, V.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dY: Tensor) -> tuple[Tensor | None, ...]:
        xU, weight, U, V = ctx.saved_tensors
        dx = dW = db = None
        dy = dY.reshape(-1, dY.shape[-1])  # tokens x O
        dyV = sparse_by_dense(dy, V.to(dy.dtype))
        if ctx.needs_input_grad[0]:
            dx = sparse_by_dense(dyV, weight.to(dy.dtype)) @ U.T.to(dy.dtype)
            dx = dx.reshape(*dY.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            dW = sparse_by_dense(dyV.T, xU.reshape(-1, xU.shape[-1])).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            db = dy.sum(0)
        return dx, dW, db, None, None


def sparse_by_dense(A: Tensor, B: Tensor) -> Tensor:
    """Returns `A B` where `A` has many rows and columns that are all zero: they are dropped.

    C = A[rows][:, columns] B[columns], scattered back by rows.
    """
    nonzero = A != 0
    rows, columns = nonzero.any(1).nonzero()[:, 0], nonzero.any(0).nonzero()[:, 0]
    C = A.new_zeros(A.shape[0], B.shape[1])
    C[rows] = A[rows][:, columns] @ B[columns]
    return C
