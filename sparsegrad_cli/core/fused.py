"""The place "backward": matrices are updated inside backward, and their gradients never live together.

    forward    y = x W1^T + b1;  z = act(y) W2^T + b2            plain, in the original space
    backward   dy, then dx; of each matrix `dY` and `x` go to the optimizer, which takes its step at once:
               G~ = V^T (dY^T x) U is alive for one matrix at a time, and no `W.grad` is ever made

It trains as the place "optimizer" does. What is saved:

- no `W.grad`, and the projection is taken in the cheapest order, often by the tokens first;
- act(y) is not kept for the second linear: it is made again from y, or, with `recompute`, from x;
- on a CPU, rows of `dz` that are all zero (padding; all but the first token in a classifier's last block) are
  left out.

One backward is one step: gradients do not accumulate, and nothing that reads `weight.grad` sees any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .targets import PAIRS, MLPLinear, replace_module

PROBED = 16  # columns: a row that is zero there is looked at whole

MaybeTensor = Tensor | None
Step = Callable[[Tensor, Tensor, Tensor], object]  # takes a weight, dY (tokens x O) and x (tokens x I)


def fuse(model: nn.Module, places: list[MLPLinear], recompute: bool) -> list[nn.Module]:
    """Put a `FusedMLP` in place of each linear, or of two linears with only an activation between them."""
    layers: list[nn.Module] = []
    linears = {found.name: found.linear for found in places}
    for found in places:
        if found.name not in linears:  # it went with the linear before it
            continue
        parts: dict[str, nn.Module] = {found.name: found.linear}
        block = found.name.removesuffix(found.kind)
        activation, second = (block + name for name in PAIRS.get(found.kind, ("", "")))
        if second in linears:
            linear = linears.pop(second)
            parts |= {activation: model.get_submodule(activation), second: linear}
            keeper = nn.Identity()  # the parameters of the second linear keep their names
            keeper.weight, keeper.bias = linear.weight, linear.bias
            replace_module(model, activation, nn.Identity())
            replace_module(model, second, keeper)
        layers.append(FusedMLP(parts, recompute))
        replace_module(model, found.name, layers[-1])
    return layers


class FusedMLP(nn.Module):
    """A linear, `F x I`, or with the activation and the linear after it, `O x F`, that train in backward.

    Args:
        parts: these, by their names in the model; see `fuse`.
        recompute: the output of the first is made again in backward, from its input, rather than kept.
    """

    def __init__(self, parts: dict[str, nn.Module], recompute: bool = False) -> None:
        super().__init__()
        self.parts = parts  # a dict, as the list below: no part of this module
        self.linears = [part for part in parts.values() if isinstance(part, nn.Linear)]
        self.weight, self.bias = self.linears[0].weight, self.linears[0].bias
        self.activation = list(parts.values())[1] if len(parts) > 1 else nn.Identity()
        self.recompute = recompute
        self.step: Step | None = None  # called in backward, in place of a `weight.grad`

    def take_step(self, linear: int, dY: Tensor, x: Tensor) -> None:
        """Let the optimizer move the weight of the first or second linear, by its `dY` and `x`."""
        if self.step is None:
            raise RuntimeError(
                "a layer that trains in backward has no optimizer: make one with Applied.optimizer first"
            )
        self.step(self.linears[linear].weight, dY, x)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "step": None}  # it is an optimizer's, and a copy has none

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if torch.is_grad_enabled():
            W2, b2 = (self.linears[1].weight, self.linears[1].bias) if self.linears[1:] else (None, None)
            return _Fused.apply(x, self.weight, self.bias, W2, b2, self)
        for part in self.parts.values():
            x = part(x)
        return x

    def restore(self, model: nn.Module, name: str) -> None:
        """Put the plain modules back into `model`, where this one stands at `name`."""
        for part, module in self.parts.items():
            replace_module(model, part, module)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W1: Tensor, b1: MaybeTensor, W2: MaybeTensor, b2: MaybeTensor, layer: FusedMLP
    ) -> Tensor:
        ctx.layer = layer
        y = F.linear(x, W1, b1)
        ctx.save_for_backward(x, W1, b1, W2, None if W2 is None or layer.recompute else y)
        return y if W2 is None else F.linear(layer.activation(y), W2, b2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        x, W1, b1, W2, y = ctx.saved_tensors
        needs_x, needs_W1, needs_b1, needs_W2, needs_b2, _ = ctx.needs_input_grad
        layer: FusedMLP = ctx.layer
        shape, rows = dz.shape[:-1], live_rows(dz)
        dz, x = pick(dz, rows), pick(x, rows)  # tokens x O, tokens x I
        dx = db1 = db2 = None
        dy = dz
        if W2 is not None:
            if y is None:
                y = F.linear(x, W1.to(x.dtype), None if b1 is None else b1.to(x.dtype))
            else:
                y = pick(y, rows)
            with torch.enable_grad():
                y = y.detach().requires_grad_()
                a = layer.activation(y)
            da = dz @ W2.to(dz.dtype)
            if needs_b2:
                db2 = dz.sum(0)
            if needs_W2:
                layer.take_step(1, dz, a.detach())
            (dy,) = torch.autograd.grad(a, y, da)
            del a, da, y
        if needs_x:
            dx = put(dy @ W1.to(dy.dtype), rows, shape)
        if needs_b1:
            db1 = dy.sum(0)
        if needs_W1:
            layer.take_step(0, dy, x)
        return dx, None, db1, None, db2, None


def live_rows(A: Tensor) -> Tensor | None:
    """Returns the positions of the rows of `A`, (..., columns), that are not all zero; None: all.

    All as well where dropping would not pay, and on a device, which one would have to wait for.
    """
    A = A.flatten(0, -2)
    if A.device.type != "cpu" or A[:, :PROBED].any(1).all():
        return None
    rows = A.any(1).nonzero()[:, 0]
    return rows if 10 * len(rows) <= 9 * len(A) else None


def pick(A: Tensor, rows: Tensor | None) -> Tensor:
    """Returns the rows of `A`, (..., columns), at `rows`; None: all."""
    A = A.flatten(0, -2)
    return A if rows is None else A[rows]


def put(A: Tensor, rows: Tensor | None, shape: torch.Size) -> Tensor:
    """Returns what `pick` took from, with zeros elsewhere, as (*shape, columns)."""
    if rows is not None:
        A = A.new_zeros(shape.numel(), A.shape[1]).index_copy_(0, rows, A)
    return A.reshape(*shape, -1)
