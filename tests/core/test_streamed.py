"""The streamed form: nothing is kept that need not be, and nothing is trained in silence."""

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import (
    Basis,
    StreamedLinear,
    apply_meprop,
    apply_sparsegrad,
    merge,
    sparse_adamw,
)

from .models import batches, tiny_model
from .test_optimizer import assert_same_weights, random_basis


def kept_bytes(model: nn.Module) -> int:
    """Bytes that autograd keeps between forward and backward, each storage once, weights apart."""
    seen: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    (x, y), *_ = batches(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x, y)
    total = sum(seen.values())
    del loss
    return total


def test_the_hidden_layer_is_kept_twice_by_folded_once_by_streamed_never_by_lean():
    kept = {}
    for form in ("folded", "streamed", "lean"):
        model = tiny_model(layers=3)
        apply_sparsegrad(model, random_basis(model), form)
        sparse_adamw(model, lr=1e-2, density=0.1)
        kept[form] = kept_bytes(model)
    hidden_layers = 3 * 4 * 5 * 20 * 8  # blocks, batch, tokens, inner, bytes
    assert kept["folded"] - kept["streamed"] == hidden_layers
    assert kept["streamed"] - kept["lean"] == hidden_layers


@pytest.mark.parametrize("form", ["streamed", "lean"])
def test_no_gradient_is_left_on_the_weights(form):
    model = tiny_model()
    layers = apply_sparsegrad(model, random_basis(model), form)
    optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
    (x, y), *_ = batches(1)
    before = [layer.weight.clone() for layer in layers]
    model(x, y).backward()
    assert all(layer.weight.grad is None for layer in layers)
    assert all(not torch.equal(layer.weight, old) for layer, old in zip(layers, before, strict=True))
    assert model.head.weight.grad is not None
    optimizer.step()


def test_without_an_optimizer_backward_says_so():
    model = tiny_model()
    apply_sparsegrad(model, random_basis(model), "streamed")
    (x, y), *_ = batches(1)
    with pytest.raises(RuntimeError, match="sparse_adamw"):
        model(x, y).backward()


def test_frozen_weights_stay_and_need_no_optimizer():
    model = tiny_model()
    for layer in apply_sparsegrad(model, random_basis(model), "lean"):
        layer.weight.requires_grad_(False)
    plain = tiny_model()
    for m in (model, plain):
        (x, y), *_ = batches(1)
        m(x, y).backward()
    torch.testing.assert_close(model.head.weight.grad, plain.head.weight.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        model.layer[0].intermediate.dense.bias.grad,
        plain.layer[0].intermediate.dense.bias.grad,
        rtol=0,
        atol=1e-12,
    )


def test_streamed_meprop_is_the_masked_adam_on_plain_linears():
    model, masked = tiny_model(hidden=20, inner=40), tiny_model(hidden=20, inner=40)
    apply_meprop(model)
    optimizers = [sparse_adamw(m, lr=1e-2, density=0.01) for m in (model, masked)]
    for x, y in batches(20, hidden=20):
        for m, optimizer in zip((model, masked), optimizers, strict=True):
            optimizer.zero_grad()
            m(x, y).backward()
            optimizer.step()
    assert_same_weights(merge(model), masked, atol=1e-12)


@pytest.mark.parametrize("form", ["streamed", "lean"])
def test_merge_puts_the_activation_back(form):
    model, plain = tiny_model(), tiny_model()
    apply_sparsegrad(model, random_basis(model), form)
    (x, y), *_ = batches(1)
    torch.testing.assert_close(model(x, y), plain(x, y), rtol=0, atol=1e-12)
    merge(model)
    assert str(model) == str(plain)
    torch.testing.assert_close(model(x, y), plain(x, y), rtol=0, atol=0)


def test_with_dropout_between_the_two_layers_the_input_is_kept():
    torch.manual_seed(0)
    inner = StreamedLinear(nn.Linear(4, 6).double(), None, nn.GELU())
    outer = StreamedLinear(nn.Linear(6, 4).double(), None)
    taken = {}
    for layer in (inner, outer):
        layer.take = lambda p, G: taken.__setitem__(p, G)
    x = torch.randn(5, 4, dtype=torch.float64)
    mask = torch.rand(5, 6, dtype=torch.float64)
    outer(inner(x) * mask).square().sum().backward()

    h = nn.functional.gelu(nn.functional.linear(x, inner.weight.detach(), inner.bias)) * mask
    out = nn.functional.linear(h, outer.weight, outer.bias).detach()
    torch.testing.assert_close(taken[outer.weight], 2 * out.T @ h.detach(), rtol=0, atol=1e-12)


def test_evaluation_keeps_nothing():
    model = tiny_model()
    apply_sparsegrad(model, Basis.identity(model), "streamed")
    with torch.no_grad():
        (x, y), *_ = batches(1)
        assert model(x, y).grad_fn is None


def test_under_autocast_it_trains_float32_weights():
    model = tiny_model(dtype=torch.float32)
    apply_sparsegrad(model, random_basis(model), "lean")
    optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
    start = model.layer[0].output.dense.weight.clone()
    for x, y in batches(3, dtype=torch.float32):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weight = model.layer[0].output.dense.weight
    assert weight.dtype == torch.float32
    assert not torch.equal(weight, start)
