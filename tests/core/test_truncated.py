"""A truncated basis: the leading directions alone, and how much of the gradients they keep."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import (
    Basis,
    Rotation,
    apply_confined,
    apply_sparsegrad,
    calibrate,
    confined_corner,
    find_mlp_linears,
    kept_entries,
    merge,
    sparse_adamw,
    touched_entries,
)

from .models import batches, random_orthogonal, tiny_model
from .test_optimizer import assert_same_weights, random_basis, train

FORMS = ("streamed", "lean", "corner", "folded", "deferred")
R, C = 5, 6  # directions that are left; the matrices are 20 x 8 and 8 x 20


def loss_of(model: nn.Module, batch: tuple) -> torch.Tensor:
    return model(*batch)


def cut(basis: Basis, r: int = R, c: int = C) -> Basis:
    kinds = {
        kind: replace(
            b, U=b.U[:, :c], V=b.V[:, :r], U_energy=b.U_energy[:c], V_energy=b.V_energy[:r], energy=None
        )
        for kind, b in basis.kinds.items()
    }
    return Basis(kinds)


def calibrated(rank: int | None, probe_steps: int = 2, **sizes: int) -> Basis:
    model = tiny_model(**sizes)
    data = batches(6, hidden=sizes.get("hidden", 8))
    return calibrate(model, data, 4, probe_steps, loss_of=loss_of, basis_rank=rank).basis


@pytest.mark.parametrize("rank", [20, 21, 1000])
def test_a_rank_that_leaves_nothing_out_is_no_truncation(rank):
    torch.testing.assert_close(calibrated(rank).tensors(), calibrated(None).tensors(), rtol=0, atol=0)


@pytest.mark.parametrize("T", [2, 7, 15, 500])
@pytest.mark.parametrize(("O", "I"), [(6, 9), (9, 6), (7, 7)])
@pytest.mark.parametrize(("r", "c"), [(1, 1), (2, 5), (5, 2), (6, 6), (6, 1)])
def test_the_projection_is_the_leading_corner_by_every_order_of_products(T, O, I, r, c):
    U, V = random_orthogonal(I, 1), random_orthogonal(O, 2)
    rotation = Rotation(U[:, :c], V[:, :r])
    dY, X = torch.randn(T, O, dtype=torch.float64), torch.randn(T, I, dtype=torch.float64)
    expected = (V.T @ (dY.T @ X) @ U)[:r, :c]
    torch.testing.assert_close(rotation.project(dY, X), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(rotation.to_basis(dY.T @ X), expected, rtol=0, atol=1e-10)
    entries, values = torch.randperm(r * c)[: r * c // 2 + 1], torch.randn(r * c, dtype=torch.float64)
    values = values[: len(entries)]
    S = torch.zeros(r * c, dtype=torch.float64).index_copy(0, entries, values).view(r, c)
    W = torch.randn(O, I, dtype=torch.float64)
    moved = W.clone()
    rotation.add_update(moved, entries, values)
    torch.testing.assert_close(moved, W + V[:, :r] @ S @ U[:, :c].T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kept", [3, R * C])
def test_all_forms_that_take_it_train_the_same_and_only_inside_it(kept):
    start, trained = tiny_model(), []
    basis = random_basis(start)
    for form in FORMS:
        model = tiny_model()
        layers = apply_sparsegrad(model, cut(basis), form)
        optimizer = sparse_adamw(model, lr=1e-2, kept=kept)
        train(model, optimizer, steps=10)
        assert touched_entries(optimizer, [layers[0].trained]) <= R * C
        trained.append(merge(model))
    for other in trained[1:]:
        assert_same_weights(other, trained[0], atol=1e-8)
    for place, before in zip(find_mlp_linears(trained[0]), find_mlp_linears(start), strict=True):
        b = basis.kinds[place.kind]
        moved = b.V.T @ (place.linear.weight - before.linear.weight) @ b.U
        assert moved[:R, :C].abs().max() > 1e-3
        moved[:R, :C] = 0
        assert moved.abs().max() < 1e-10


@pytest.mark.parametrize("form", ["regular", "sparse-by-dense"])
def test_the_papers_forms_would_lose_the_weights_and_refuse_it(form):
    model = tiny_model()
    with pytest.raises(ValueError, match=f"the {form} form .* take another form"):
        apply_sparsegrad(model, cut(random_basis(model)), form)


def test_more_entries_than_it_has_are_refused():
    assert kept_entries((20, 8), kept=R * C, rank=(R, C)) == R * C
    for given in ({"kept": R * C + 1}, {"density": 0.5}):
        with pytest.raises(ValueError, match="cannot be kept in a basis truncated to 5 x 6"):
            kept_entries((20, 8), **given, rank=(R, C))
    model = tiny_model()
    apply_sparsegrad(model, cut(random_basis(model)), "deferred")
    with pytest.raises(ValueError, match="truncated"):
        sparse_adamw(model, lr=1e-2, density=0.5)
    with pytest.raises(ValueError, match="truncated"):
        apply_confined(tiny_model(), calibrated(3), "fixed", density=0.5)


@pytest.mark.parametrize("support", ["block", "fixed"])
def test_a_confined_support_trains_inside_it(support):
    model, start = tiny_model(), tiny_model()
    basis = calibrated(3)
    layers = apply_confined(model, basis, support, kept=6)
    assert all(0 < layer.corner.kept <= 6 for layer in layers)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2), steps=3)
    for place, before in zip(find_mlp_linears(merge(model)), find_mlp_linears(start), strict=True):
        b = basis.kinds[place.kind]
        moved = place.linear.weight - before.linear.weight
        inside = b.V @ (b.V.T @ moved @ b.U) @ b.U.T
        assert moved.abs().max() > 1e-3
        torch.testing.assert_close(inside, moved, rtol=0, atol=1e-12)


def test_a_fixed_support_finds_room_for_all_entries_in_a_low_basis():
    basis = calibrated(4, hidden=8, inner=400)
    for b in basis.kinds.values():
        assert confined_corner(b, "fixed", kept=15).kept == 15


def test_it_keeps_the_energy_that_it_says():
    model, data = tiny_model(hidden=16, inner=40), batches(6, hidden=16)
    basis = calibrate(model, data, 4, 2, loss_of=loss_of, basis_rank=4).basis
    whole: dict[str, dict[str, float]] = {
        k: dict.fromkeys(("V", "U", "both", "all", "unseen"), 0.0) for k in basis.kinds
    }
    for number, batch in enumerate(data):
        model.zero_grad()
        loss_of(model, batch).backward()
        for place in find_mlp_linears(model):
            b, G, sums = basis.kinds[place.kind], place.linear.weight.grad, whole[place.kind]
            if number < 4:
                sums["V"] += (b.V.T @ G).square().sum().item()
                sums["U"] += (G @ b.U).square().sum().item()
                sums["all"] += G.square().sum().item()
            else:
                sums["both"] += (b.V.T @ G @ b.U).square().sum().item()
                sums["unseen"] += G.square().sum().item()
    for kind, b in basis.kinds.items():
        sums, kept = whole[kind], b.energy_kept
        assert b.rank == (4, 4)
        assert pytest.approx(sums["V"] / sums["all"], abs=1e-10) == kept.V
        assert pytest.approx(sums["U"] / sums["all"], abs=1e-10) == kept.U
        assert kept.both == pytest.approx(sums["both"] / sums["unseen"], abs=1e-10)
        assert 0.3 < kept.V < 0.9999
    full = calibrated(None).kinds["output.dense"].energy_kept
    assert full == pytest.approx((1, 1, 1))
    assert calibrated(4, probe_steps=0).kinds["output.dense"].energy_kept.both is None


def test_the_concentration_is_in_entries_and_energy_of_the_whole_gradient():
    def found(rank: int | None):
        model = tiny_model(hidden=16, inner=40)
        return calibrate(model, batches(6, hidden=16), 4, 2, loss_of=loss_of, basis_rank=rank)

    whole, cut_off = found(None), found(1)
    for kind, concentration in cut_off.concentration.items():
        assert concentration.before == whole.concentration[kind].before
        assert concentration.after == pytest.approx(cut_off.basis.kinds[kind].energy_kept.both, rel=0.3)
        assert concentration.after < whole.concentration[kind].after


def test_a_truncated_basis_goes_through_tensors_and_back():
    basis = calibrated(3)
    again = Basis.from_tensors(basis.tensors(), {})
    torch.testing.assert_close(again.tensors(), basis.tensors(), rtol=0, atol=0)
    assert again.kinds["output.dense"].shape == (8, 20)
    again.check_fits(tiny_model())


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [("U_energy", (4,), "U .* and 4 energies"), ("energy", (8, 20), "energy of output.dense is not 3 x 3")],
)
def test_a_truncated_basis_whose_parts_disagree_is_refused(name, shape, message):
    tensors = calibrated(3).tensors() | {f"output.dense/{name}": torch.zeros(shape)}
    with pytest.raises(ValueError, match=message):
        Basis.from_tensors(tensors, {})


def test_a_rank_below_one_is_refused():
    with pytest.raises(ValueError, match="basis_rank must be at least 1, got 0"):
        calibrated(0)
