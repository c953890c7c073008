"""Layers that leave W alone and train a corner of the new space; backward costs what LoRA's does.

    S      r x c, the leading corner of the new space; the trained vector `values` holds k entries of it
    dS     = V_r^T dY^T (x U_c)           only x U_c, tokens x c, is kept for backward, not x

Where the optimizer moves `values` has its effect in one of two ways:

    folded   W += V_r (S - S_folded) U_c^T           before the next forward, y = x W^T + b
    beside   y = x W^T + b + (x U_c) S^T V_r^T       W (O x I) stays as it is until the end of training

A step's change is below half a unit in the last place of most bfloat16 weights: folding would lose it, so
these are always left alone. `corner` says which entries are trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .corner import Corner
from .rows import live_rows, pick, put


class ConfinedLinear(nn.Module):
    """Drop-in for `nn.Linear` of which `values`, a vector, is trained.

    Args:
        linear: the layer to take over with its very parameters; its weight is frozen.
        corner: shared with the layers of the same kind.
        is_dynamic: whether the optimizer is to choose among `values` at each step; W is then left alone.
    """

    folded: Tensor | None  # the part of `values` that is in `weight`; None: none of it

    def __init__(self, linear: nn.Linear, corner: Corner, is_dynamic: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight.requires_grad_(False), linear.bias
        self.corner = corner
        self.is_dynamic = is_dynamic
        dtype = torch.promote_types(linear.weight.dtype, torch.float32)
        self.values = nn.Parameter(linear.weight.new_zeros(corner.kept, dtype=dtype))
        self.folds = not is_dynamic and linear.weight.dtype == dtype  # whether W follows `values` in training
        self.register_buffer("folded", self.values.detach().clone() if self.folds else None)

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if self.folds and (self.training or not torch.equal(self.values, self.folded)):
            self.fold()
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.folds and not torch.is_grad_enabled():
            return F.linear(x, self.weight, self.bias)
        return _Confined.apply(x, self.values, self.bias, self.weight, self.corner, not self.folds)

    @property
    def trained(self) -> nn.Parameter:
        """What is trained in place of the weight."""
        return self.values

    @torch.no_grad()
    def fold(self) -> None:
        """Brings `weight` up to date with `values`."""
        U, V = self.corner.U, self.corner.V
        change = self.values if self.folded is None else self.values - self.folded
        left = V @ self.corner.matrix(change).to(V.dtype)  # O x c
        if left.dtype == self.weight.dtype:
            self.weight.addmm_(left, U.T)
        else:
            self.weight.add_(left @ U.T)
        if self.folded is None:
            self.folded = self.values.detach().clone()
        else:
            self.folded.copy_(self.values)

    def dense(self) -> nn.Linear:
        """The plain linear that computes the same; it shares this layer's parameters.

        A weight below float32 becomes float32: what was trained is less than its last digit.
        """
        self.weight.data = self.weight.data.to(self.values.dtype)
        self.fold()
        self.folds = True
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight, linear.bias = self.weight.requires_grad_(), self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, kept={self.corner.kept}"


class _Confined(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        weight: Tensor,
        corner: Corner,
        beside: bool,
    ) -> Tensor:
        xU = x @ corner.U.to(x.dtype)
        ctx.save_for_backward(xU, weight, values)
        ctx.corner, ctx.beside = corner, beside
        y = F.linear(x, weight, bias)
        return y.add_(corner.beside(xU, values)) if beside else y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dY: Tensor) -> tuple[Tensor | None, ...]:
        xU, weight, values = ctx.saved_tensors
        shape = dY.shape[:-1]
        dY, xU = dY.reshape(-1, dY.shape[-1]), xU.reshape(-1, xU.shape[-1])  # tokens x O, tokens x c
        rows = live_rows(dY)
        dY, xU = pick(dY, rows), pick(xU, rows)
        needs_x, needs_values, needs_bias = ctx.needs_input_grad[:3]
        dx = dvalues = db = None
        beside = None
        if needs_values or (needs_x and ctx.beside):
            dvalues, beside = ctx.corner.gradients(dY, xU, values if needs_x and ctx.beside else None)
            dvalues = dvalues.to(values.dtype)
        if needs_x:
            dx = dY @ weight.to(dY.dtype)
            dx = put(dx if beside is None else dx.add_(beside), rows, shape)
        if needs_bias:
            db = dY.sum(0)
        return dx, dvalues, db, None, None, None
