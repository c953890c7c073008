"""The form "corner": W stays, the sum of all updates in a truncated basis is trained beside it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import (
    Basis,
    ConfinedLinear,
    Corner,
    KindBasis,
    apply_sparsegrad,
    find_mlp_linears,
    masked_layers,
    merge,
    sparse_adamw,
)

from .models import batches, random_orthogonal, tiny_model
from .test_optimizer import assert_same_weights, random_basis, train
from .test_streamed import kept_bytes
from .test_truncated import C, R, cut


def cornered(dtype: torch.dtype = torch.float64, **sizes: int) -> tuple[nn.Module, list[ConfinedLinear]]:
    model = tiny_model(dtype=dtype, **sizes)
    return model, apply_sparsegrad(model, cut(random_basis(model)), "corner")


@given(
    tokens=st.integers(1, 40),
    O=st.integers(1, 9),
    I=st.integers(1, 9),
    r=st.integers(1, 9),
    c=st.integers(1, 9),
    bias=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_linear_of_the_weight_with_all_updates_in_it(tokens, O, I, r, c, bias):
    """Whatever order of products is the cheapest."""
    r, c = min(r, O), min(c, I)
    U, V = random_orthogonal(I, 1)[:, :c], random_orthogonal(O, 2)[:, :r]
    linear = nn.Linear(I, O, bias=bias, dtype=torch.float64)
    layer = ConfinedLinear(linear, Corner(KindBasis(U, V, torch.ones(c), torch.ones(r))), is_dynamic=True)
    nn.init.normal_(layer.values)
    W = (layer.weight + V @ layer.values.view(r, c) @ U.T).detach().requires_grad_()
    x, dY = torch.randn(1, tokens, I, dtype=torch.float64), torch.randn(1, tokens, O, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = layer(ours), F.linear(theirs, W, layer.bias)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    y.backward(dY)
    expected.backward(dY)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.values.grad.view(r, c), V.T @ W.grad @ U, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.dense().weight, W, rtol=0, atol=1e-10)


def test_parts_of_a_batch_are_the_batch():
    trained = []
    for parts in (1, 4):
        model, _ = cornered()
        optimizer = sparse_adamw(model, lr=1e-2, kept=3)
        for x, y in batches(5):
            optimizer.zero_grad()
            for x_part, y_part in zip(x.chunk(parts), y.chunk(parts), strict=True):
                (model(x_part, y_part) / parts).backward()
            optimizer.step()
        trained.append(merge(model))
    assert_same_weights(*trained, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_training_no_weight_moves_and_what_is_trained_is_float32(dtype):
    model, layers = cornered(dtype)
    before = [layer.weight.clone() for layer in layers]
    optimizer = sparse_adamw(model, lr=1e-2, kept=3)
    train(model, optimizer, steps=3)
    for layer, weight in zip(layers, before, strict=True):
        assert torch.equal(layer.weight, weight)
        assert layer.weight.grad is None
        assert layer.values.dtype == layer.values.grad.dtype == torch.float32
        assert (layer.values.shape, layer.folded) == ((R * C,), None)
        assert 3 <= layer.values.count_nonzero() <= 9
    plain = merge(copy.deepcopy(model))
    assert {place.linear.weight.dtype for place in find_mlp_linears(plain)} == {torch.float32}
    with pytest.raises(AssertionError):
        torch.testing.assert_close(find_mlp_linears(plain)[0].linear.weight, before[0].float())


def test_the_optimizer_chooses_among_the_corners_entries_alone():
    model, layers = cornered()
    assert masked_layers(model) == layers
    optimizer = sparse_adamw(model, lr=1e-2, kept=3, sparse_lr=1e-3)
    masked, rest = optimizer.param_groups
    assert masked["params"] == [layer.values for layer in layers]
    assert (masked["kept"], masked["lr"]) == (3, 1e-3)
    assert not {id(layer.weight) for layer in layers} & {id(p) for p in rest["params"]}


def test_forward_keeps_the_corner_of_its_input_and_not_the_input():
    """As LoRA does on a frozen weight."""
    model, layers = cornered()
    frozen = tiny_model()
    for place in find_mlp_linears(frozen):
        place.linear.weight.requires_grad_(False)
    tokens = 4 * 5
    assert kept_bytes(model) <= kept_bytes(frozen) + sum(tokens * C * 8 for _ in layers)


def test_a_state_dict_round_trip_changes_nothing():
    model, _ = cornered()
    optimizer = sparse_adamw(model, lr=1e-2, kept=3)
    train(model, optimizer, steps=4)
    other, _ = cornered()
    other.load_state_dict(model.state_dict())
    resumed = sparse_adamw(other, lr=1e-2, kept=3)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(other, resumed, steps=4) == train(model, optimizer, steps=4)
    assert_same_weights(merge(other), merge(model), atol=0)


def test_in_an_identity_basis_it_is_meprop_on_the_leading_entries():
    model, meprop = tiny_model(), tiny_model()
    basis = cut(Basis.identity(model))
    layers = apply_sparsegrad(model, basis, "corner")
    optimizer = sparse_adamw(model, lr=1e-2, kept=R * C)
    train(model, optimizer, steps=1)
    outside = torch.ones(layers[0].weight.shape)
    outside[:R, :C] = 0
    merged = find_mlp_linears(merge(model))[0].linear.weight
    plain = find_mlp_linears(meprop)[0].linear.weight
    assert torch.equal(merged[outside.bool()], plain[outside.bool()])
    assert not (merged == plain)[:R, :C].any()
