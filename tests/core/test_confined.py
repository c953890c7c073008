"""The confined supports: a plain linear whose gradient is the chosen part of G~, for any optimizer."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsegrad_cli.core import (
    Basis,
    ConfinedLinear,
    apply_confined,
    calibrate,
    confined_corner,
    find_mlp_linears,
    merge,
)

from .models import batches, tiny_model
from .test_optimizer import random_basis, train
from .test_streamed import kept_bytes

SUPPORTS = ["block", "fixed"]


def basis_with_energy(model: nn.Module) -> Basis:
    """A random basis whose energies fall from the leading corner."""
    basis = random_basis(model)
    kinds = {}
    for kind, b in basis.kinds.items():
        O, I = b.shape
        energy = 0.8 ** (torch.arange(O)[:, None] + 2 * torch.arange(I)).double()
        kinds[kind] = replace(b, energy=energy / energy.sum())
    return Basis(kinds)


def trained_part(layer: ConfinedLinear) -> torch.Tensor:
    """1 at the trained entries of the new space, O x I."""
    chosen = torch.zeros(layer.out_features, layer.in_features, dtype=torch.float64)
    r, c = layer.corner.V.shape[1], layer.corner.U.shape[1]
    chosen[:r, :c] = layer.corner.matrix(torch.ones_like(layer.values))
    return chosen


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("first_token", [True, False])
def test_gradients_are_the_chosen_entries_of_the_rotated_gradient(support, first_token):
    model, plain = tiny_model(first_token=first_token), tiny_model(first_token=first_token)
    basis = basis_with_energy(model)
    layers = apply_confined(model, basis, support, density=0.1)
    (x, y), *_ = batches(1)
    losses = [m(x, y) for m in (model, plain)]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-12)
    for loss in losses:
        loss.backward()
    for layer, place in zip(layers, find_mlp_linears(plain), strict=True):
        b = basis.kinds[place.kind]
        G = b.V.T @ place.linear.weight.grad @ b.U
        assert layer.values.numel() <= round(0.1 * G.numel())
        expected = G[trained_part(layer).bool()]
        torch.testing.assert_close(layer.values.grad, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.bias.grad, place.linear.bias.grad, rtol=0, atol=1e-12)
        assert layer.weight.grad is None
    torch.testing.assert_close(model.head.weight.grad, plain.head.weight.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_any_optimizer_moves_the_chosen_entries_and_no_others(support, optimizer):
    model, start = tiny_model(), tiny_model()
    basis = basis_with_energy(model)
    layers = apply_confined(model, basis, support, kept=12)
    train(model, optimizer(model.parameters(), lr=1e-2), steps=5)
    chosen = [trained_part(layer).bool() for layer in layers]
    values = [layer.values.detach().clone() for layer in layers]
    merge(model)
    places = zip(find_mlp_linears(model), find_mlp_linears(start), chosen, values, strict=True)
    for place, before, mask, trained in places:
        b = basis.kinds[place.kind]
        moved = b.V.T @ (place.linear.weight - before.linear.weight) @ b.U
        torch.testing.assert_close(moved[mask], trained, rtol=0, atol=1e-12)
        assert moved[~mask].abs().max() < 1e-12 < 1e-5 < moved[mask].abs().max()


def test_a_block_of_everything_trains_as_adam_in_the_basis():
    model, adam = tiny_model(), tiny_model()
    identity = Basis.identity(model)
    kinds = {kind: replace(b, energy=torch.ones(b.shape)) for kind, b in identity.kinds.items()}
    layers = apply_confined(model, Basis(kinds), "fixed", density=1.0)
    ours = train(model, torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0))
    theirs = train(adam, torch.optim.AdamW(adam.parameters(), lr=1e-2, weight_decay=0.0))
    assert ours == pytest.approx(theirs, abs=1e-10)
    assert all(layer.values.numel() == layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("support", SUPPORTS)
def test_evaluation_sees_what_training_changed(support):
    model = tiny_model()
    apply_confined(model, basis_with_energy(model), support, density=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = batches(1)[0]
    model(x, y).backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        after = model(x, y)
    merge(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x, y), after, rtol=0, atol=1e-12)


def test_a_state_dict_holds_what_was_not_yet_folded():
    model, other = tiny_model(), tiny_model(seed=1)
    basis = basis_with_energy(model)
    for m in (model, other):
        apply_confined(m, basis, "block", density=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    train(model, optimizer, steps=3)  # the last step is in `values`, not in `weight`
    other.load_state_dict(model.state_dict())
    resumed = torch.optim.AdamW(other.parameters(), lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(other, resumed, steps=3) == train(model, optimizer, steps=3)


def test_less_is_kept_for_backward_than_by_a_plain_linear():
    plain = tiny_model()
    for place in find_mlp_linears(plain):
        place.linear.weight.requires_grad_(False)  # as LoRA has it, its own input for A left out
    confined = tiny_model()
    layers = apply_confined(confined, basis_with_energy(confined), "block", kept=8)
    extra = sum(4 * 5 * layer.corner.U.shape[1] * 8 for layer in layers)  # x U_c: batch, tokens, c, bytes
    assert kept_bytes(confined) <= kept_bytes(plain) + extra
    assert len({layer.corner for layer in layers}) == 2


def test_the_backward_needs_no_more_columns_than_it_was_promised():
    model = tiny_model(hidden=16, inner=40)
    for place in find_mlp_linears(model):
        O, I = place.linear.weight.shape
        kind = random_basis(model).kinds[place.kind]
        wide = replace(
            kind, energy=torch.ones(O, I) * (torch.arange(O)[:, None] == 0)
        )  # one row, all columns
        corner = confined_corner(wide, "block", kept=O)
        assert corner.U.shape[1] <= 4
        assert corner.kept <= O


def test_without_energies_there_is_nothing_to_choose_from():
    model = tiny_model()
    basis = calibrate(model, batches(2), steps=2, probe_steps=0, loss_of=lambda m, b: m(*b)).basis
    with pytest.raises(ValueError, match="probe_steps"):
        apply_confined(model, basis, "fixed", density=0.1)


def test_bfloat16_weights_have_float32_values():
    model = tiny_model(dtype=torch.bfloat16)
    layers = apply_confined(model, basis_with_energy(tiny_model(dtype=torch.float32)), "block", density=0.1)
    for layer in layers:
        layer.corner.to(torch.float32)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2), steps=2)
    assert all(layer.values.dtype == torch.float32 for layer in layers)
    assert all(layer.weight.dtype == torch.bfloat16 for layer in layers)


def test_under_autocast_it_trains_float32_values():
    model = tiny_model(dtype=torch.float32)
    basis = basis_with_energy(model)
    layers = apply_confined(model, basis, "fixed", density=0.1)
    x, y = batches(1, dtype=torch.float32)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x, y)
    loss.backward()
    assert all(layer.values.grad.dtype == torch.float32 for layer in layers)


def test_a_corner_holds_memory_of_its_own():
    """A tensor from a file may lie at any address, and a product's last bit depends on it."""
    model = tiny_model()
    for basis in basis_with_energy(model).kinds.values():
        corner = confined_corner(basis, "fixed", kept=basis.shape[0] * basis.shape[1])
        assert corner.U.shape == basis.U.shape
        assert corner.U.data_ptr() != basis.U.data_ptr()
        assert corner.V.data_ptr() != basis.V.data_ptr()


def half_and_whole(support: str) -> tuple[nn.Module, nn.Module]:
    """The same model and corner twice, its MLP weights in bfloat16 and in float32."""
    models = [tiny_model(dtype=torch.float32, hidden=32, inner=64) for _ in range(2)]
    basis = basis_with_energy(models[0])
    for model, dtype in zip(models, (torch.bfloat16, torch.float32), strict=True):
        for place in find_mlp_linears(model):
            weight = place.linear.weight
            weight.data = weight.data.bfloat16().to(dtype)
            place.linear.bias.data = place.linear.bias.data.bfloat16().to(dtype)
        apply_confined(model, basis, support, density=0.1)
    return models[0], models[1]


def step(model: nn.Module, optimizer: torch.optim.Optimizer | None = None, seed: int = 1) -> float:
    (x, y), *_ = batches(1, seed=seed, hidden=32, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x, y)
    model.zero_grad()
    loss.backward()
    if optimizer:
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("support", SUPPORTS)
def test_on_bfloat16_weights_it_computes_what_it_does_on_float32(support):
    half, whole = half_and_whole(support)
    generator = torch.Generator().manual_seed(5)
    for layers in zip(confined_layers(half), confined_layers(whole), strict=True):
        values = 0.3 * torch.randn(layers[0].values.shape, generator=generator)
        for layer in layers:
            layer.values.data.copy_(values)
    losses = [step(model) for model in (half, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    ours, theirs = dict(half.named_parameters()), dict(whole.named_parameters())
    compared = [name for name, p in theirs.items() if p.grad is not None]
    assert len(compared) == 2 * 4 + 2  # values and biases of the layers, the head
    for name in compared:
        assert ours[name].grad.dtype == ours[name].dtype
        difference = (ours[name].grad.float() - theirs[name].grad).norm()
        assert difference < 0.03 * theirs[name].grad.norm(), name


@pytest.mark.parametrize("support", SUPPORTS)
def test_small_steps_on_bfloat16_weights_are_not_lost(support):
    """Each is far below what a bfloat16 weight can take; together they are not."""
    half, whole = half_and_whole(support)
    before = [layer.weight.clone() for layer in confined_layers(half)]
    for model in (half, whole):
        optimizer = torch.optim.SGD([layer.values for layer in confined_layers(model)], lr=1e-3)
        for _ in range(40):
            step(model, optimizer)
    for ours, theirs, weight in zip(confined_layers(half), confined_layers(whole), before, strict=True):
        assert torch.equal(ours.weight, weight)
        assert (ours.values - theirs.values).norm() < 0.03 * theirs.values.norm()


@pytest.mark.parametrize("support", SUPPORTS)
def test_bfloat16_weights_are_folded_once_at_the_end(support):
    half, _ = half_and_whole(support)
    for layer in confined_layers(half):
        layer.values.data.normal_(std=0.3)
    half.eval()
    other, _ = half_and_whole(support)
    other.load_state_dict(half.state_dict())
    other.eval()
    x = torch.randn(2, 3, 32)
    for layer, again in zip(confined_layers(half), confined_layers(other), strict=True):
        full = layer.weight.float() + layer.corner.V @ layer.corner.matrix(layer.values) @ layer.corner.U.T
        h = x.bfloat16() if layer.in_features == 32 else torch.randn(2, 3, 64).bfloat16()
        with torch.no_grad():
            beside = layer(h)
            assert torch.equal(again(h), beside)
        dense = layer.dense()
        assert dense.weight.dtype == torch.float32  # bfloat16 would round most of a small update away
        torch.testing.assert_close(dense.weight, full)
        plain = F.linear(h.float(), dense.weight, dense.bias.float())
        assert (plain - beside.float()).norm() < 0.02 * beside.float().norm()


def confined_layers(model: nn.Module) -> list[ConfinedLinear]:
    return [module for module in model.modules() if isinstance(module, ConfinedLinear)]
