"""The place "adapter": a parameter of its own in a subspace of the gradients, for any optimizer."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsegrad_cli.core import Applied, Basis, SubspaceLinear, apply_sparsegrad, find_mlp_linears

from .models import batches, kept_bytes, some_basis, tiny_model, train

MASKS = ["block", "fixed", "random"]
R, C = 5, 6  # directions of a truncated basis; the matrices are 20 x 8 and 8 x 20


def adapter(
    mask: str, model: nn.Module | None = None, rank: tuple[int, int] | None = None, **given
) -> Applied:
    model = tiny_model() if model is None else model
    given = given or {"density": 0.1}
    return apply_sparsegrad(model, some_basis(model, rank), mask, "adapter", **given)


def directions(layer: SubspaceLinear) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.subspace.U, layer.subspace.V


@pytest.mark.parametrize("mask", [*MASKS, "dynamic"])
@pytest.mark.parametrize("first_token", [True, False])
def test_gradients_are_the_chosen_entries_of_the_rotated_gradient(mask, first_token):
    found, plain = adapter(mask, tiny_model(first_token=first_token)), tiny_model(first_token=first_token)
    (x, y), *_ = batches(1)
    losses = [m(x, y) for m in (found.model, plain)]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-12)
    for loss in losses:
        loss.backward()
    for place in find_mlp_linears(plain):
        layer = found.model.get_submodule(place.name)
        U, V = directions(layer)
        G = (V.T @ place.linear.weight.grad @ U).flatten()
        expected = G if layer.entries is None else G[layer.entries]
        torch.testing.assert_close(layer.values.grad, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.bias.grad, place.linear.bias.grad, rtol=0, atol=1e-12)
        assert layer.weight.grad is None
    torch.testing.assert_close(found.model.head.weight.grad, plain.head.weight.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_any_optimizer_will_do_without_being_told_of_the_layers(mask, optimizer):
    found, start = adapter(mask, kept=12), tiny_model()
    train(found.model, optimizer(found.model.parameters(), lr=1e-2), steps=5)
    values = {id(layer): layer.matrix().detach() for layer in found.layers}
    model, x, y = found.model, *batches(1)[0]
    model.eval()
    with torch.no_grad():
        after = model(x, y)
    layers = {place.name: model.get_submodule(place.name) for place in find_mlp_linears(start)}
    found.merge()
    torch.testing.assert_close(model(x, y), after, rtol=0, atol=1e-12)
    for place, before in zip(find_mlp_linears(model), find_mlp_linears(start), strict=True):
        U, V = directions(layers[place.name])
        expected = before.linear.weight + V @ values[id(layers[place.name])] @ U.T
        torch.testing.assert_close(place.linear.weight, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS)
def test_a_copy_is_trained_by_an_optimizer_of_its_own(mask):
    found, start = adapter(mask, kept=12), tiny_model()
    found.optimizer(1e-2)
    model = copy.deepcopy(found.model)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2), steps=3)
    model.eval()(*batches(1)[0])
    for place in find_mlp_linears(start):
        theirs, ours = (m.get_submodule(place.name).weight for m in (found.model, model))
        assert torch.equal(theirs, place.linear.weight)
        assert not torch.equal(ours, theirs)


def test_weights_follow_the_values_once_a_step_and_kind(monkeypatch):
    found = adapter("block", tiny_model(layers=3))
    optimizer = found.optimizer(1e-2)
    for x, y in batches(3):
        for _ in range(2):
            found.model(x, y).backward()
        optimizer.step()
        for layer in found.layers:
            assert torch.equal(layer.merged, layer.values)


def test_under_autocast_weights_follow_their_values_in_float32():
    """A merge in bfloat16 would be off by a hundredth of what is merged, at each step."""
    model, start = tiny_model(dtype=torch.float32), tiny_model(dtype=torch.float32)
    found = adapter("fixed", model)
    for told in (True, False):
        optimizer = found.optimizer(1e-3) if told else torch.optim.AdamW(model.parameters(), lr=1e-3)
        for x, y in batches(40, dtype=torch.float32):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(x, y)
                loss.backward()
                optimizer.step()
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            model.eval()(x, y)
            model.train()
        for place in find_mlp_linears(start):
            layer = model.get_submodule(place.name)
            U, V = directions(layer)
            change = V @ layer.matrix().detach() @ U.T
            assert layer.values.grad.dtype == torch.float32
            assert change.abs().max() > 1e-2
            torch.testing.assert_close(layer.weight - place.linear.weight, change, rtol=0, atol=1e-5)
        for layer in found.layers:
            layer.has_hook = False


@pytest.mark.parametrize("mask", ["block", "dynamic"])
def test_less_is_kept_for_backward_than_by_a_plain_linear(mask):
    """As LoRA does on a frozen weight: x U_c, batch x tokens x c, and not x."""
    plain = tiny_model()
    for place in find_mlp_linears(plain):
        place.linear.weight.requires_grad_(False)
    found = adapter(mask, rank=(R, C), kept=8)
    extra = sum(4 * 5 * layer.subspace.shape[1] * 8 for layer in found.layers)
    assert kept_bytes(found.model) <= kept_bytes(plain) + extra
    assert len({layer.subspace for layer in found.layers}) == 2


def test_a_block_needs_no_more_columns_than_it_was_promised():
    model = tiny_model(hidden=16, inner=40)
    basis = some_basis(model)
    one_row = {  # all energy in one row of the new space, whose columns would all be wanted
        kind: replace(b, energy=torch.ones(b.shape) * (torch.arange(b.shape[0])[:, None] == 0))
        for kind, b in basis.kinds.items()
    }
    for layer in apply_sparsegrad(model, Basis(one_row), "block", "adapter", kept=40).layers:
        assert layer.subspace.shape[1] <= 10
        assert len(layer.values) <= 40


def test_a_fixed_mask_finds_room_for_all_entries_in_a_low_basis():
    found = adapter("fixed", tiny_model(hidden=8, inner=400), (4, 4), kept=15)
    assert all(len(layer.values) == 15 for layer in found.layers)


def test_a_subspace_holds_memory_of_its_own():
    """A tensor from a file may lie at any address, and a product's last bit depends on it."""
    model = tiny_model()
    basis = some_basis(model)
    for layer in apply_sparsegrad(model, basis, "fixed", "adapter", density=1.0).layers:
        for own, other in zip(
            directions(layer), [b for k in basis.kinds.values() for b in (k.U, k.V)], strict=False
        ):
            assert own.data_ptr() != other.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_a_truncated_basis_no_weight_moves_and_what_is_trained_is_float32(dtype):
    found = adapter("dynamic", tiny_model(dtype=dtype), (R, C), kept=3)
    before = [layer.weight.clone() for layer in found.layers]
    train(found.model, found.optimizer(1e-2), steps=3)
    for layer, weight in zip(found.layers, before, strict=True):
        assert torch.equal(layer.weight, weight)
        assert layer.weight.grad is None
        assert layer.values.dtype == layer.values.grad.dtype == torch.float32
        assert (layer.values.shape, layer.merged) == ((R * C,), None)
        assert 3 <= layer.values.count_nonzero() <= 9
    (x, y), *_ = batches(1, dtype=torch.float32)
    merged = copy.deepcopy(found).merge().float()
    assert {place.linear.weight.dtype for place in find_mlp_linears(merged)} == {torch.float32}
    assert merged(x, y).isfinite()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(find_mlp_linears(merged)[0].linear.weight, before[0].float())


def half_and_whole(mask: str) -> tuple[Applied, Applied]:
    """The same model and subspace twice, its MLP weights in bfloat16 and in float32."""
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        model = tiny_model(dtype=torch.float32, hidden=32, inner=64)
        basis = some_basis(model)
        for place in find_mlp_linears(model):
            for p in (place.linear.weight, place.linear.bias):
                p.data = p.data.bfloat16().to(dtype)
        found.append(apply_sparsegrad(model, basis, mask, "adapter", density=0.1))
    return found[0], found[1]


def step(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> float:
    (x, y), *_ = batches(1, hidden=32, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x, y)
    model.zero_grad()
    loss.backward()
    if optimizer:
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("mask", MASKS)
def test_on_bfloat16_weights_it_computes_what_it_does_on_float32(mask):
    half, whole = half_and_whole(mask)
    generator = torch.Generator().manual_seed(5)
    for layers in zip(half.layers, whole.layers, strict=True):
        values = 0.3 * torch.randn(layers[0].values.shape, generator=generator)
        for layer in layers:
            layer.values.data.copy_(values)
    losses = [step(found.model) for found in (half, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    ours, theirs = dict(half.model.named_parameters()), dict(whole.model.named_parameters())
    compared = [name for name, p in theirs.items() if p.grad is not None]
    assert len(compared) == 2 * 4 + 2  # values and biases of the layers, the head
    for name in compared:
        assert ours[name].grad.dtype == ours[name].dtype
        difference = (ours[name].grad.float() - theirs[name].grad).norm()
        assert difference < 0.03 * theirs[name].grad.norm(), name


@pytest.mark.parametrize("mask", MASKS)
def test_small_steps_on_bfloat16_weights_are_not_lost(mask):
    """Each is far below what a bfloat16 weight can take; together they are not."""
    half, whole = half_and_whole(mask)
    before = [layer.weight.clone() for layer in half.layers]
    for found in (half, whole):
        optimizer = torch.optim.SGD(found.adapted, lr=1e-3)
        for _ in range(40):
            step(found.model, optimizer)
    for ours, theirs, weight in zip(half.layers, whole.layers, before, strict=True):
        assert torch.equal(ours.weight, weight)
        assert (ours.values - theirs.values).norm() < 0.03 * theirs.values.norm()


@pytest.mark.parametrize("mask", MASKS)
def test_bfloat16_weights_are_merged_once_at_the_end(mask):
    half, _ = half_and_whole(mask)
    for layer in half.layers:
        layer.values.data.normal_(std=0.3)
    for name, layer in list(half.model.named_modules()):
        if not isinstance(layer, SubspaceLinear):
            continue
        U, V = directions(layer)
        full = layer.weight.float() + V @ layer.matrix() @ U.T
        h = torch.randn(2, 3, layer.in_features).bfloat16()
        with torch.no_grad():
            beside = layer(h)
        layer.restore(half.model, name)
        dense = half.model.get_submodule(name)
        assert dense.weight.dtype == torch.float32  # bfloat16 would round most of a small update away
        torch.testing.assert_close(dense.weight, full)
        plain = F.linear(h.float(), dense.weight, dense.bias.float())
        assert (plain - beside.float()).norm() < 0.02 * beside.float().norm()
