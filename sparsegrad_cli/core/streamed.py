"""The fast exact form: a matrix is selected and updated inside backward, and its gradient is gone.

    forward    a = act(x W^T + b)                   plain, in the original space; act may be none
    backward   G~ = V^T (dY^T x) U                  O x I, alive for one layer at a time
               W += V dS U^T                        dS: the masked Adam's update from the top k of G~

The kept set and the trajectory are those of the folded form with `optimizer.step()`. What is saved:

- no `W.grad`, and moments only where an entry was ever chosen;
- of an MLP's two layers, the output of the activation is not kept for the second: it is made again from the
  activation's input, or, with `recompute`, that too is made again from the first layer's input;
- rows of `dY` that are all zero (padding; all but the first token in a classifier's last block) are dropped.

One backward is one step: gradients do not accumulate, and nothing that reads `weight.grad` sees any.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .rotation import Rotation
from .rows import live_rows, pick, put, same_rows

Activation = Callable[[Tensor], Tensor]


class StreamedLinear(nn.Module):
    """Drop-in for `nn.Linear`, and for the activation after it, that trains its weight inside backward.

    Args:
        linear: the layer to take over with its very parameters, weight `O x I`.
        rotation: `U` (`I x c`) and `V` (`O x r`); None selects in the original space (MeProp).
        activation: applied to the output; whoever puts the layer in takes it out of the model.
        recompute: make the layer's output again in backward, from its input, rather than keep it.
    """

    take: Callable[[nn.Parameter, Tensor], None] | None  # the optimizer's: a step from weight and gradient

    def __init__(
        self,
        linear: nn.Linear,
        rotation: Rotation | None,
        activation: Activation | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.rotation = rotation
        self.activation = activation
        self.recompute = recompute
        self.take = None

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if torch.is_grad_enabled():
            return _Streamed.apply(x, self.weight, self.bias, self, x.grad_fn)
        y = F.linear(x, self.weight, self.bias)
        return y if self.activation is None else self.activation(y)

    @property
    def trained(self) -> nn.Parameter:
        """What the optimizer moves."""
        return self.weight

    @property
    def rotates_updates(self) -> bool:
        """Whether an update is found in the basis and applied in the original space."""
        return self.rotation is not None

    def dense(self) -> nn.Linear:
        """The plain linear, without the activation; it shares this layer's parameters."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, recompute={self.recompute}"


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        layer: StreamedLinear,
        source: torch.autograd.graph.Node | None,
    ) -> Tensor:
        ctx.layer = layer
        ctx.saved = ctx.remade = None
        can_remake = isinstance(source, _Streamed._backward_cls) and source.layer.activation is not None
        ctx.source = source if can_remake else None  # then the input need not be kept
        y = F.linear(x, weight, bias)
        keeps_output = layer.activation is not None and not layer.recompute
        ctx.save_for_backward(None if ctx.source else x, weight, bias, y if keeps_output else None)
        return y if layer.activation is None else layer.activation(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dY: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _, _ = _saved(ctx)
        layer: StreamedLinear = ctx.layer
        shape = dY.shape[:-1]
        dY = dY.reshape(-1, dY.shape[-1])  # tokens x O
        rows = live_rows(dY)
        dY = pick(dY, rows)
        if layer.activation is not None:
            y, a = _output(ctx, rows)
            (dY,) = torch.autograd.grad(a, y, dY)
        dx = db = None
        if ctx.needs_input_grad[0]:
            dx = put(dY @ weight.to(dY.dtype), rows, shape)
        if ctx.needs_input_grad[2]:
            db = dY.sum(0)
        if ctx.needs_input_grad[1]:
            if ctx.source is None:
                x = pick(x.reshape(-1, x.shape[-1]), rows)
            else:
                x = _output(ctx.source, rows)[1].detach()
            _train(layer, dY, x)
        ctx.saved = ctx.remade = None
        return dx, None, db, None, None


def _saved(ctx: FunctionCtx) -> tuple[Tensor | None, ...]:
    """What forward saved; asked for once, as gradient checkpointing demands."""
    if ctx.saved is None:
        ctx.saved = ctx.saved_tensors
    return ctx.saved


def _output(ctx: FunctionCtx, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """A layer's output before and after its activation, for the tokens `rows`; made once, with its graph."""
    if ctx.remade is None or not same_rows(ctx.remade[0], rows):
        x, weight, bias, y = _saved(ctx)
        if y is None:
            x = pick(x.reshape(-1, x.shape[-1]), rows)
            y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        else:
            y = pick(y.reshape(-1, y.shape[-1]), rows)
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            ctx.remade = rows, y, ctx.layer.activation(y)
    return ctx.remade[1:]


def _train(layer: StreamedLinear, dY: Tensor, x: Tensor) -> None:
    if layer.take is None:
        raise RuntimeError("a streamed layer has no optimizer: make one with sparse_adamw(model, ...) first")
    G = dY.T @ x if layer.rotation is None else layer.rotation.project(dY, x)
    layer.take(layer.weight, G)
