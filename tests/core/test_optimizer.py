"""The masked Adam: its identities, and what users of torch optimizers expect of it."""

import copy

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import (
    FORMS,
    Basis,
    KindBasis,
    SparseAdamW,
    apply_sparsegrad,
    calibrate,
    find_mlp_linears,
    merge,
    sparse_adamw,
    top_entries,
    touched_entries,
)
from sparsegrad_cli.core.moments import dense_moment

from .models import batches, random_orthogonal, tiny_model


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 20) -> list[float]:
    losses = []
    for x, y in batches(steps, dtype=next(model.parameters()).dtype):
        loss = model(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def random_basis(model: nn.Module) -> Basis:
    kinds = {}
    for place in find_mlp_linears(model):
        O, I = place.linear.weight.shape
        dtype = place.linear.weight.dtype
        kinds[place.kind] = KindBasis(
            random_orthogonal(I, I, dtype),
            random_orthogonal(O, O, dtype),
            torch.ones(I) / I,
            torch.ones(O) / O,
        )
    return Basis(kinds)


def assert_same_weights(model: nn.Module, other: nn.Module, atol: float) -> None:
    ours, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("density", [0.05, 1.0])
@pytest.mark.parametrize("first_token", [True, False])
def test_all_forms_train_the_same_over_20_steps(bias, density, first_token):
    trained = []
    for form in FORMS:
        model = tiny_model(bias=bias, first_token=first_token)
        apply_sparsegrad(model, random_basis(model), form)
        train(model, sparse_adamw(model, lr=1e-2, density=density))
        trained.append(merge(model))
    for other in trained[1:]:
        assert_same_weights(other, trained[0], atol=1e-8)
    start = tiny_model(bias=bias, first_token=first_token)
    moved = [
        (a.linear.weight - b.linear.weight).abs().max()
        for a, b in zip(find_mlp_linears(start), find_mlp_linears(trained[0]), strict=True)
    ]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_full_density_in_the_identity_basis_is_adam_step_for_step(form):
    model, plain = tiny_model(), tiny_model()
    apply_sparsegrad(model, Basis.identity(model), form)
    ours = train(model, sparse_adamw(model, lr=1e-2, density=1.0))
    adam = train(plain, torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.0))
    assert ours == pytest.approx(adam, abs=1e-10)
    assert_same_weights(merge(model), plain, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_one_percent_in_the_identity_basis_is_meprop_step_for_step(form):
    model, meprop = tiny_model(hidden=20, inner=40), tiny_model(hidden=20, inner=40)
    apply_sparsegrad(model, Basis.identity(model), form)
    optimizers = [sparse_adamw(m, lr=1e-2, density=0.01) for m in (model, meprop)]
    for x, y in batches(20, hidden=20):
        for m, optimizer in zip((model, meprop), optimizers, strict=True):
            optimizer.zero_grad()
            m(x, y).backward()
            optimizer.step()
        assert_same_weights(merge(copy.deepcopy(model)), meprop, atol=1e-12)


def test_meprop_moves_only_the_largest_entries_and_their_moments():
    weight = nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))
    optimizer = SparseAdamW([{"params": [weight], "kept": 2}], lr=0.1)
    weight.grad = torch.tensor([[0, 3.0, 0, 1], [0, 0, -5, 0], [2, 0, 0, 0]], dtype=torch.float64)
    optimizer.step()
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[0, 1], expected[1, 2] = -0.1, 0.1
    torch.testing.assert_close(weight.data, expected, rtol=0, atol=1e-8)
    state = optimizer.state[weight]
    for moment in ("exp_avg", "exp_avg_sq"):
        assert dense_moment(state, moment, weight.shape).nonzero().tolist() == [[0, 1], [1, 2]]
    assert touched_entries(optimizer, [weight]) == 2
    weight.grad = torch.zeros(3, 4, dtype=torch.float64)
    weight.grad[2, 0] = weight.grad[0, 1] = 1
    optimizer.step()
    assert touched_entries(optimizer, [weight]) == 3
    assert weight.data.nonzero().tolist() == [[0, 1], [1, 2], [2, 0]]


@pytest.mark.parametrize("form", FORMS)
def test_full_density_in_any_basis_uses_every_entry_of_the_gradient(form):
    model = tiny_model()
    layers = apply_sparsegrad(model, random_basis(model), form)
    optimizer = sparse_adamw(model, lr=1e-2, density=1.0)
    train(model, optimizer, steps=1)
    for layer in layers:
        assert touched_entries(optimizer, [layer.trained]) == layer.weight.numel()


def test_the_rest_of_the_model_is_trained_by_adamw():
    model, plain = tiny_model(), tiny_model()
    for m in (model, plain):
        for place in find_mlp_linears(m):
            place.linear.weight.requires_grad_(False)
    ours = sparse_adamw(model, lr=1e-2, density=0.5, weight_decay=0.1)
    train(model, ours)
    train(plain, torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.1, fused=True))
    assert_same_weights(model, plain, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_state_dict_round_trip_changes_nothing(dtype, tmp_path):
    model = tiny_model(dtype=dtype)
    basis = random_basis(model)
    apply_sparsegrad(model, basis)
    optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
    train(model, optimizer, steps=5)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")

    other = tiny_model(dtype=dtype)
    apply_sparsegrad(other, basis)
    other.load_state_dict(model.state_dict())
    resumed = sparse_adamw(other, lr=1e-3, density=0.1)
    resumed.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    assert resumed.param_groups[0]["lr"] == 1e-2
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(resumed.state[q], optimizer.state[p], rtol=0, atol=0)
    assert train(other, resumed, steps=5) == train(model, optimizer, steps=5)
    assert_same_weights(other, model, atol=0)


def test_a_scheduler_sets_the_rate_of_both_kinds_of_group():
    model = tiny_model()
    apply_sparsegrad(model, random_basis(model))
    optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    train(model, optimizer, steps=1)
    scheduler.step()
    after_one = copy.deepcopy(model.state_dict())
    train(model, optimizer, steps=3)
    torch.testing.assert_close(model.state_dict(), after_one, rtol=0, atol=0)


def test_accumulated_gradients_are_summed_before_they_are_selected():
    (x, y), (x2, y2) = batches(2)
    weights = []
    for accumulate in (True, False):
        model = tiny_model()
        apply_sparsegrad(model, random_basis(model))
        optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
        if accumulate:
            (model(x, y) / 2).backward()
            (model(x2, y2) / 2).backward()
        else:
            model(torch.cat([x, x2]), torch.cat([y, y2])).backward()
        optimizer.step()
        weights.append(dict(model.named_parameters()))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-9)


def test_sparsegrad_learns():
    model = tiny_model()
    data = batches(12)
    basis = calibrate(model, data, steps=8, probe_steps=0, loss_of=lambda m, b: m(*b)).basis
    apply_sparsegrad(model, basis)
    for name, p in model.named_parameters():
        p.requires_grad_(name.endswith("dense.weight"))
    optimizer = sparse_adamw(model, lr=1e-2, density=0.05)
    x, y = data[0]
    first = model(x, y).item()
    for _ in range(60):
        optimizer.zero_grad()
        model(x, y).backward()
        optimizer.step()
    assert model(x, y).item() < 0.5 * first


@pytest.mark.parametrize(
    ("group", "message"),
    [({"kept": 0}, "kept must be at least 1"), ({"kept": 2, "weight_decay": 0.1}, "no weight decay")],
)
def test_bad_groups_are_refused(group, message):
    with pytest.raises(ValueError, match=message):
        SparseAdamW([{"params": [nn.Parameter(torch.zeros(2, 2))], **group}])


@pytest.mark.parametrize("bad", [{"density": 0.0}, {"density": 1.1}, {"kept": 0}, {"kept": 10**6}, {}])
def test_a_density_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match=r"density|kept"):
        sparse_adamw(tiny_model(), lr=1e-2, **bad)


def test_top_entries_are_the_largest_in_magnitude():
    G = torch.tensor([[1.0, -7, 2], [0, 3, -4]])
    assert sorted(top_entries(G, 3).tolist()) == [1, 4, 5]
