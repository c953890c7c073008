"""Takes `x` and `dL/dY` of chosen MLP linears out of a training step, whatever method trains them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import MLPLinear

Use = Callable[[MLPLinear, Tensor, Tensor], None]


def choose_places(places: list[MLPLinear]) -> list[MLPLinear]:
    """The MLP linears of the first, the middle and the last block."""
    blocks = sorted({place.block for place in places})
    chosen = {blocks[0], blocks[len(blocks) // 2], blocks[-1]}
    return [place for place in places if place.block in chosen]


@contextmanager
def each_output_gradient(model: nn.Module, places: list[MLPLinear], use: Use) -> Iterator[None]:
    """Hands `dL/dY` (... x O) and the input `x` (... x I) of each place to `use`, in the backward inside.

    Args:
        model: as a method has made it ready; its layers still have the names in `places`.
        places: found in the model before that.
    """

    def hook_for(place: MLPLinear) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach()
            output.register_hook(lambda gradient: use(place, _before_activation(layer, x, gradient), x))

        return hook

    hooks = [model.get_submodule(place.name).register_forward_hook(hook_for(place)) for place in places]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _before_activation(layer: nn.Module, x: Tensor, gradient: Tensor) -> Tensor:
    """`dL/dY` from the gradient of the layer's output: a streamed layer applies the activation too."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return gradient
    with torch.enable_grad():
        y = F.linear(x, layer.weight, layer.bias).detach().requires_grad_()
        (dY,) = torch.autograd.grad(activation(y), y, gradient)
    return dY
