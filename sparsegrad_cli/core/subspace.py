"""The place "adapter": what is trained is a parameter of its own beside W, in a subspace of the gradients.

    S      r x c, the leading corner of the basis; the trained vector `values` holds entries of it
    dS     = V_r^T dY^T (x U_c)           only x U_c, tokens x c, is kept for backward, not x

Where the optimizer moves `values` has its effect in one of two ways:

    merged   W += V_r (S - S_merged) U_c^T      after each step, y = x W^T + b
    beside   y = x W^T + b + (x U_c) S^T V_r^T  W (O x I) stays as it is until the end of training

A step's change is below half a unit in the last place of most bfloat16 weights: merging would lose it, so S
stays beside these. Without a basis (`U = V = 1`) S is O x I.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .basis import Precision, add_update, cheapest_order, dense, product
from .fused import live_rows, pick, put
from .targets import replace_module


class Subspace(nn.Module):
    """The corner, `r x c`, that is trained of one kind of linear, and its directions; its layers share it.

    `U`, `I x c`, and `V`, `O x r` (None: the original space), are copied. They are buffers, so that they
    follow the model to its device, but stay out of its `state_dict`.
    """

    U: Tensor | None
    V: Tensor | None

    def __init__(
        self, shape: tuple[int, int], U: Tensor | None, V: Tensor | None, precision: Precision
    ) -> None:
        super().__init__()
        self.shape = shape
        self.precision: Precision = precision
        for name, columns in (("U", U), ("V", V)):
            # contiguous, so that a basis from a file gives the last bit of one just made
            own = None if columns is None else columns.clone(memory_format=torch.contiguous_format)
            self.register_buffer(name, own, persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Returns `x U_c`, of shape (..., c)."""
        return x if self.U is None else x @ self.U.to(x.dtype)

    def decode(self, xU: Tensor, S: Tensor) -> Tensor:
        """Returns `(x U_c) S^T V_r^T`, of shape (..., O), from `x U_c`."""
        if self.V is None:
            return F.linear(xU, S.to(xU.dtype))
        if self._token_first(xU.numel() // xU.shape[-1]):
            return F.linear(F.linear(xU, S.to(xU.dtype)), self.V.to(xU.dtype))
        return F.linear(xU, self._product(self.V, S.to(self.V.dtype)).to(xU.dtype))

    def gradients(self, dY: Tensor, xU: Tensor, S: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Returns the gradient of S, `r x c`, from `dY` (tokens x O) and `x U_c` (tokens x c).

        And that of x along this path, tokens x I, where `S` is given, which then has its effect beside W.
        """
        if self.U is None or self.V is None:
            return self._product(dY.T, xU), None if S is None else dY @ S.to(dY.dtype)
        if S is None:
            return self._product(self.V.T, dY.T, xU), None
        if self._token_first(len(dY)):
            dYV = dY @ self.V.to(dY.dtype)  # tokens x r
            dS, dxU = self._product(dYV.T, xU), dYV @ S.to(dY.dtype)
        else:
            dS = self._product(self.V.T, dY.T, xU)
            dxU = dY @ self._product(self.V, S.to(self.V.dtype)).to(dY.dtype)
        return dS, dxU @ self.U.T.to(dY.dtype)

    def _product(self, *factors: Tensor) -> Tensor:
        return product(*factors, precision=self.precision)

    def _token_first(self, tokens: int) -> bool:
        """Whether tokens are multiplied by V, or V by what is `O x c`."""
        assert self.V is not None
        (O, r), c = self.V.shape, self.shape[1]
        return cheapest_order((r, O, tokens, c))[1][0] == 0


class SubspaceLinear(nn.Module):
    """Drop-in for `nn.Linear` with its very parameters, beside which `values`, a vector, is trained.

    Args:
        entries: int64, flat positions in the corner that `values` holds; None: all of them.
        merge_each_step: W follows `values` in training: see `merge_values`.
    """

    entries: Tensor | None
    merged: Tensor | None  # the part of `values` that is in `weight`; None: none of it

    def __init__(
        self, linear: nn.Linear, subspace: Subspace, entries: Tensor | None, merge_each_step: bool
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.plain = [linear]  # in a list: no part of this module
        self.weight, self.bias = linear.weight.requires_grad_(False), linear.bias
        self.subspace = subspace
        dtype = torch.promote_types(linear.weight.dtype, torch.float32)
        count = math.prod(subspace.shape) if entries is None else len(entries)
        self.values = nn.Parameter(linear.weight.new_zeros(count, dtype=dtype))
        self.merge_each_step = merge_each_step
        self.has_hook = False  # of an optimizer that merges after its steps; else the next forward does
        self.register_buffer("entries", entries, persistent=False)
        self.register_buffer("merged", self.values.detach().clone() if merge_each_step else None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "has_hook": False}  # a copy has no optimizer

    def matrix(self, values: Tensor | None = None) -> Tensor:
        """Returns S, `r x c`, which holds `values` (default: the layer's own) and zeros."""
        values = self.values if values is None else values
        entries = None if self.entries is None else self.entries[None]
        return dense(values[None], entries, math.prod(self.subspace.shape)).view(self.subspace.shape)

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if self._is_behind():
            merge_values([self])
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.merge_each_step and not torch.is_grad_enabled():
            return F.linear(x, self.weight, self.bias)
        return _Subspace.apply(x, self.values, self.bias, self.weight, self)

    def _is_behind(self) -> bool:
        """Whether `weight` may lack what an optimizer did to `values`."""
        if self.merged is None or self.has_hook:
            return False
        return self.training or not torch.equal(self.values, self.merged)

    def restore(self, model: nn.Module, name: str) -> None:
        """Put the plain linear that computes the same, of the same parameters, into `model` at `name`.

        A weight below float32 becomes float32: what was trained is less than its last digit.
        """
        self.weight.data = self.weight.data.to(self.values.dtype)
        merge_values([self])
        linear = self.plain[0]
        linear.weight, linear.bias = self.weight.requires_grad_(), self.bias
        replace_module(model, name, linear)

    def extra_repr(self) -> str:
        return f"{self.plain[0].extra_repr()}, values={len(self.values)}"


@torch.no_grad()
def merge_values(layers: Iterable[SubspaceLinear]) -> None:
    """Bring the weights of `layers` up to date with their values; those of a kind together."""
    kinds: dict[tuple[Subspace, int], list[SubspaceLinear]] = {}
    for layer in layers:
        kinds.setdefault((layer.subspace, len(layer.values)), []).append(layer)
    for (subspace, _), own in kinds.items():
        due = torch.stack([layer.values for layer in own])
        merged = [layer.merged for layer in own if layer.merged is not None]
        chosen = [layer.entries for layer in own if layer.entries is not None]
        update = due - torch.stack(merged) if merged else due
        entries = torch.stack(chosen) if chosen else None
        weights = [layer.weight for layer in own]
        add_update(weights, update, entries, subspace.U, subspace.V, subspace.precision)
        for layer, now in zip(own, due, strict=True):
            if layer.merged is not None:
                layer.merged.copy_(now)


class _Subspace(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, weight: Tensor, layer: SubspaceLinear
    ) -> Tensor:
        xU = layer.subspace.encode(x)
        ctx.save_for_backward(xU, weight, values)
        ctx.layer = layer
        y = F.linear(x, weight, bias)
        return y if layer.merge_each_step else y.add_(layer.subspace.decode(xU, layer.matrix(values)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dY: Tensor) -> tuple[Tensor | None, ...]:
        xU, weight, values = ctx.saved_tensors
        layer: SubspaceLinear = ctx.layer
        shape, rows = dY.shape[:-1], live_rows(dY)
        dY, xU = pick(dY, rows), pick(xU, rows)  # tokens x O, tokens x c
        needs_x, needs_values, needs_bias = ctx.needs_input_grad[:3]
        dx = dvalues = db = None
        S = layer.matrix(values) if needs_x and not layer.merge_each_step else None
        beside = None
        if needs_values or S is not None:
            dS, beside = layer.subspace.gradients(dY, xU, S)
            dvalues = dS.flatten() if layer.entries is None else dS.flatten()[layer.entries]
            dvalues = dvalues.to(values.dtype)
        if needs_x:
            dx = dY @ weight.to(dY.dtype)
            dx = put(dx if beside is None else dx.add_(beside), rows, shape)
        if needs_bias:
            db = dY.sum(0)
        return dx, dvalues, db, None, None
