"""Basis x mask x place: every place trains the same, and the points of the space are what they should be."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import (
    PLACES,
    Applied,
    Basis,
    apply_sparsegrad,
    find_mlp_linears,
    kept_entries,
)
from sparsegrad_cli.core.apply import MASKS
from sparsegrad_cli.methods.base import touched_entries

from .models import (
    assert_same_weights,
    batches,
    identity_basis,
    some_basis,
    tiny_model,
    train,
    trained,
    without_energies,
)

R, C = 5, 6  # of the truncated basis; the matrices are 20 x 8 and 8 x 20
KEPT = 12
BASES = {
    "none": lambda model: Basis({}, {}, some_basis(model).squares),
    "whole": some_basis,
    "truncated": lambda model: some_basis(model, (R, C)),
    "random": lambda model: Basis.random(model, seed=3),
}
NEEDS_ENERGY = ("fixed", "block")
POINTS = [
    (basis, mask)
    for basis in BASES
    for mask in MASKS
    if not (basis == "none" and mask == "block") and not (basis == "random" and mask in NEEDS_ENERGY)
]


def applied(basis: str, mask: str, place: str, kept: int = KEPT, **model: bool) -> Applied:
    plain = tiny_model(**model)
    return apply_sparsegrad(plain, BASES[basis](plain), mask, place, kept=kept)


@pytest.mark.parametrize("first_token", [False, True])
@pytest.mark.parametrize(("basis", "mask"), POINTS)
def test_every_place_trains_the_same(basis, mask, first_token):
    start = tiny_model(first_token=first_token, bias=not first_token)
    models = []
    for place in PLACES:
        models.append(trained(applied(basis, mask, place, first_token=first_token, bias=not first_token), 5))
        assert str(models[-1]) == str(start)
    for other in models[1:]:
        assert_same_weights(other, models[0], atol=1e-8)
    for ours, before in zip(find_mlp_linears(models[0]), find_mlp_linears(start), strict=True):
        assert (ours.linear.weight - before.linear.weight).abs().max() > 1e-3


def moved_entries(model: nn.Module, basis: Basis) -> Iterator[torch.Tensor]:
    """What training did to each matrix, where its entries were chosen."""
    for place, before in zip(find_mlp_linears(model), find_mlp_linears(tiny_model()), strict=True):
        moved = (place.linear.weight - before.linear.weight).detach()
        b = basis.kinds.get(place.kind)
        yield moved if b is None else b.V.T @ moved @ b.U


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("basis", "mask"), POINTS)
def test_a_step_moves_the_chosen_entries_and_no_others(basis, mask, place):
    found = applied(basis, mask, place)
    optimizer = found.optimizer(1e-2)
    steps = 1 if mask == "dynamic" else 3
    train(found.model, optimizer, steps)
    at_most = kept_entries((20, 8), kept=KEPT) * len(found.adapted)
    assert found.entries_per_step <= at_most
    assert touched_entries(optimizer, found.adapted) == found.entries_per_step
    for moved in moved_entries(found.merge(), BASES[basis](tiny_model())):
        large = moved.abs() > 1e-6
        assert KEPT // 2 < large.sum() <= KEPT
        assert moved[~large].abs().max() < 1e-12


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("basis", ["none", "identity"])
def test_full_density_in_the_original_space_is_adam_step_for_step(basis, place):
    model, plain = tiny_model(), tiny_model()
    own = identity_basis(model) if basis == "identity" else None
    found = apply_sparsegrad(model, own, place=place, density=1.0)
    ours = train(model, found.optimizer(1e-2))
    adam = train(plain, torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.0))
    assert ours == pytest.approx(adam, abs=1e-10)
    assert_same_weights(found.merge(), plain, atol=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_one_percent_without_a_basis_is_meprop_step_for_step(place):
    """MeProp as it is defined: Adam on the largest entries of each matrix's gradient, dense moments."""
    model, by_hand = (tiny_model(hidden=20, inner=40) for _ in range(2))
    found = apply_sparsegrad(model, None, place=place, density=0.01)
    train(model, found.optimizer(1e-2), 12)
    weights = [p.linear.weight for p in find_mlp_linears(by_hand)]
    rest = torch.optim.AdamW([p for p in by_hand.parameters() if not any(p is w for w in weights)], lr=1e-2)
    rest.param_groups[0]["weight_decay"] = 0.0
    moments = {w: (torch.zeros_like(w), torch.zeros_like(w)) for w in weights}
    for step, (x, y) in enumerate(batches(12, hidden=20), 1):
        by_hand.zero_grad()
        by_hand(x, y).backward()
        rest.step()
        for w, (m, v) in moments.items():
            top = w.grad.abs().flatten().topk(8).indices
            g, m, v = w.grad.flatten()[top], m.view(-1), v.view(-1)
            m[top] = 0.9 * m[top] + 0.1 * g
            v[top] = 0.999 * v[top] + 0.001 * g**2
            root = (v[top] / (1 - 0.999**step)).sqrt() + 1e-8
            w.data.view(-1)[top] -= 1e-2 * m[top] / (1 - 0.9**step) / root
    assert_same_weights(found.merge(), by_hand, atol=1e-10)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("basis", "mask"), POINTS)
def test_a_run_goes_on_from_its_state_dicts_and_needs_nothing_else(basis, mask, place, tmp_path):
    """The second run has another basis: that of the first comes with the optimizer's state."""
    first = applied(basis, mask, place)
    optimizer = first.optimizer(1e-2)
    train(first.model, optimizer, 2)
    torch.save((first.model.state_dict(), optimizer.state_dict()), tmp_path / "state.pt")

    model = tiny_model(seed=1)
    other = {"whole": lambda m: some_basis(m, seed=9), "random": lambda m: Basis.random(m, seed=9)}
    own = BASES[basis] if place == "adapter" else other.get(basis, BASES[basis])
    second = apply_sparsegrad(model, own(model), mask, place, kept=KEPT)
    resumed = second.optimizer(1e-3)
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    model.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["lr"] == 1e-2
    for p, q in zip(first.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(resumed.state[q], optimizer.state[p], rtol=0, atol=0)
    losses = train(first.model, optimizer, 3, seed=2)
    assert train(model, resumed, 3, seed=2) == losses
    assert_same_weights(second.merge(), first.merge(), atol=0)


@pytest.mark.parametrize("place", [p for p in PLACES if p != "backward"])
@pytest.mark.parametrize(("basis", "mask"), POINTS)
def test_micro_batches_are_the_batch(basis, mask, place):
    whole, parts = (trained(applied(basis, mask, place), 3, parts) for parts in (1, 4))
    assert_same_weights(parts, whole, atol=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_a_copy_of_a_model_has_no_optimizer(place):
    found = applied("whole", "dynamic", place)
    optimizer = found.optimizer(1e-2)
    train(found.model, optimizer, 2)
    held = len(optimizer.state)
    copied = copy.deepcopy(found.model)
    before = copy.deepcopy(copied.state_dict())
    train(found.model, optimizer, 2)
    torch.testing.assert_close(copied.state_dict(), before, rtol=0, atol=0)
    (x, y), *_ = batches(1)
    if place == "backward":
        with pytest.raises(RuntimeError, match="no optimizer"):
            copied(x, y).backward()
    else:
        copied(x, y).backward()
    assert len(optimizer.state) == held
    torch.testing.assert_close(copied.state_dict(), before, rtol=0, atol=0)
    assert str(replace(found, model=copied).merge()) == str(tiny_model())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("basis", "mask"), POINTS)
def test_merge_gives_the_function_that_was_trained(basis, mask, place):
    found = applied(basis, mask, place)
    train(found.model, found.optimizer(1e-2), 3)
    (x, y), *_ = batches(1, seed=5)
    with torch.no_grad():
        before = found.model(x, y)
        torch.testing.assert_close(found.merge()(x, y), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("place", PLACES)
def test_only_the_chosen_blocks_are_trained(place):
    model, start = tiny_model(layers=3), tiny_model(layers=3)
    for p in model.parameters():
        p.requires_grad_(False)
    for found in find_mlp_linears(model, (0, 2)):
        found.linear.weight.requires_grad_(True)
    after = dict(
        trained(
            apply_sparsegrad(model, some_basis(model), place=place, kept=3, blocks=(0, 2)), 3
        ).named_parameters()
    )
    moved = {name for name, p in start.named_parameters() if not torch.equal(p, after[name])}
    assert moved == {
        f"layer.{n}.{kind}.weight" for n in (0, 2) for kind in ("intermediate.dense", "output.dense")
    }


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("rank", [None, (R, C)])
def test_the_random_controls_are_drawn_from_their_seed(place, rank):
    def matrices(**given: int) -> list[torch.Tensor]:
        model = tiny_model()
        basis = Basis.random(model, given.get("basis_seed", 0), rank=None if rank is None else 5)
        found = apply_sparsegrad(model, basis, "random", place, kept=3, seed=given.get("seed", 0))
        return [p.linear.weight for p in find_mlp_linears(trained(found, 2))]

    first = matrices()
    assert all(map(torch.equal, first, matrices()))
    assert not any(map(torch.equal, first, matrices(seed=1)))
    assert not any(map(torch.equal, first, matrices(basis_seed=1)))


@pytest.mark.parametrize(
    ("basis", "mask", "message"),
    [
        ("none", "block", "needs a basis"),
        ("random", "block", "probe_steps"),
        ("random", "fixed", "probe_steps"),
        ("whole", "dense", "mask must be one of dynamic, fixed, block, random, got 'dense'"),
    ],
)
def test_a_mask_that_the_basis_cannot_serve_is_refused(basis, mask, message):
    with pytest.raises(ValueError, match=message):
        applied(basis, mask, "optimizer")


def test_what_is_missing_or_out_of_range_is_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match="place must be one of"):
        apply_sparsegrad(model, place="hook", kept=1)
    with pytest.raises(ValueError, match="mean_squares"):
        apply_sparsegrad(model, None, "fixed", kept=1)
    with pytest.raises(ValueError, match="probe_steps"):
        apply_sparsegrad(model, without_energies(some_basis(model)), "fixed", kept=1)
    for bad in ({"density": 0.0}, {"density": 1.1}, {"kept": 0}, {"kept": 10**6}, {}):
        with pytest.raises(ValueError, match=r"density|kept"):
            apply_sparsegrad(model, **bad)
    with pytest.raises(ValueError, match="cannot be kept in a basis truncated to 5 x 6"):
        apply_sparsegrad(model, some_basis(model, (R, C)), density=0.5)
