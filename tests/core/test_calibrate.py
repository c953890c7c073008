"""Calibration: the HOSVD of the gradients, in memory that does not grow with the number of steps."""

import sys

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import Basis, calibrate, find_mlp_linears, mean_squares
from sparsegrad_cli.core.calibrate import Gram
from sparsegrad_cli.store.basis_file import to_tensors

from .models import batches, loss_of, random_orthogonal, tiny_model

calibrate_module = sys.modules[Gram.__module__]
STEPS = 6


def gradient_stacks(model: nn.Module, steps: int) -> dict[str, torch.Tensor]:
    """kind -> n x O x I, as the paper collects them."""
    stacks: dict[str, list[torch.Tensor]] = {}
    for batch in batches(steps):
        model.zero_grad()
        loss_of(model, batch).backward()
        for place in find_mlp_linears(model):
            stacks.setdefault(place.kind, []).append(place.linear.weight.grad.clone())
    return {kind: torch.stack(stack) for kind, stack in stacks.items()}


@pytest.mark.parametrize("strip", [512, 3])
def test_the_basis_is_the_singular_vectors_of_the_explicit_unfoldings(strip, monkeypatch):
    monkeypatch.setattr(calibrate_module, "STRIP", strip)  # the sums of large matrices are taken in strips
    model = tiny_model()
    stacks = gradient_stacks(model, STEPS)
    basis = calibrate(model, batches(STEPS), steps=STEPS, probe_steps=0, loss_of=loss_of)
    compared = 0
    for kind, stack in stacks.items():
        n, O, I = stack.shape
        for ours, energy, unfolding in (
            (basis.kinds[kind].V, basis.kinds[kind].V_energy, stack.permute(1, 0, 2).reshape(O, n * I)),
            (basis.kinds[kind].U, basis.kinds[kind].U_energy, stack.permute(2, 0, 1).reshape(I, n * O)),
        ):
            vectors, values, _ = torch.linalg.svd(unfolding, full_matrices=False)
            shares = values.square() / values.square().sum()
            torch.testing.assert_close(energy[: len(shares)], shares, rtol=0, atol=1e-10)
            torch.testing.assert_close(
                ours.T @ ours, torch.eye(len(ours), dtype=ours.dtype), rtol=0, atol=1e-12
            )
            padded = torch.cat([shares.new_ones(1), shares, shares.new_zeros(1)])
            gaps = torch.minimum(padded[:-2] - shares, shares - padded[2:])
            for i in (gaps > 1e-3).nonzero()[:, 0].tolist():
                assert abs(torch.dot(ours[:, i], vectors[:, i]).item()) == pytest.approx(1, abs=1e-8)
                compared += 1
    assert compared >= 12


def test_the_basis_concentrates_unseen_gradients():
    model = tiny_model(hidden=32, inner=64)
    data = batches(20, hidden=32)
    for b in calibrate(model, data, steps=16, probe_steps=4, loss_of=loss_of).kinds.values():
        before, after = b.concentration
        assert 0 < before < after <= 1


def test_the_energy_is_that_of_unseen_gradients_entry_by_entry():
    model = tiny_model()
    data = batches(STEPS + 3)
    basis = calibrate(model, data, steps=STEPS, probe_steps=3, loss_of=loss_of)
    expected = dict.fromkeys(basis.kinds, 0)
    for batch in data[STEPS:]:
        model.zero_grad()
        loss_of(model, batch).backward()
        for place in find_mlp_linears(model):
            b = basis.kinds[place.kind]
            expected[place.kind] += (b.V.T @ place.linear.weight.grad @ b.U).square()
    for kind, energy in expected.items():
        found = basis.kinds[kind].energy
        torch.testing.assert_close(found, energy / energy.sum(), rtol=0, atol=1e-12)


def live_tensor_peak(steps: int) -> int:
    """Most bytes that torch's CPU allocator held at once in a calibration, over what it held before."""
    model = tiny_model(hidden=32, inner=96, dtype=torch.float32)
    data = batches(steps, hidden=32, dtype=torch.float32)
    calibrate(model, data[:2], steps=2, probe_steps=0, loss_of=loss_of)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as prof:
        calibrate(model, iter(data), steps=steps, probe_steps=0, loss_of=loss_of)
    held = peak = 0
    for event in prof.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_memory_does_not_grow_with_the_number_of_steps():
    at_10, at_60 = live_tensor_peak(10), live_tensor_peak(60)
    assert at_10 > 2 * 4 * 96 * 96
    assert at_60 <= 1.05 * at_10


def test_the_model_is_left_as_it_was():
    model = tiny_model()
    model.head.weight.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    calibrate(model, batches(4), steps=3, probe_steps=1, loss_of=loss_of)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name], rtol=0, atol=0)
        assert p.grad is None
        assert p.requires_grad == (name != "head.weight")
        assert not p._post_accumulate_grad_hooks


def test_all_gradients_are_done_before_the_decomposition_begins(monkeypatch):
    """So that who watches the steps can time the two apart."""
    events, eigh = [], torch.linalg.eigh

    def watched(*given: object, **named: object) -> object:
        events.append("eigh")
        return eigh(*given, **named)

    monkeypatch.setattr(torch.linalg, "eigh", watched)
    calibrate(tiny_model(), batches(4), steps=3, probe_steps=1, loss_of=loss_of, on_step=events.append)
    assert events == [1, 2, 3, *4 * ["eigh"], 4]


def test_too_few_batches_are_an_error_that_counts_them():
    with pytest.raises(ValueError, match="needs 6 batches; there were 4"):
        calibrate(tiny_model(), batches(4), steps=5, probe_steps=1, loss_of=loss_of)


def test_a_gradient_that_is_not_finite_is_named():
    model = tiny_model()
    with pytest.raises(ValueError, match=r"layer\.1\.output\.dense is not finite"):
        calibrate(model, batches(3), steps=2, loss_of=lambda m, b: m(*b) * float("nan"))


def test_squares_are_the_mean_squared_gradients_of_each_matrix():
    model, data = tiny_model(), batches(STEPS)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    done = []
    found = mean_squares(model, data, STEPS, loss_of=loss_of, on_step=done.append)
    assert done == list(range(1, STEPS + 1))
    assert found.kinds == {}
    expected = {place.name: 0 for place in find_mlp_linears(model)}
    for batch in data:
        model.zero_grad()
        loss_of(model, batch).backward()
        for place in find_mlp_linears(model):
            expected[place.name] += place.linear.weight.grad.square() / STEPS
    torch.testing.assert_close(dict(found.squares), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(dict(model.named_parameters()), before, rtol=0, atol=0)
    found.check_fits(tiny_model())
    with pytest.raises(ValueError, match=r"which has no layer\.2\.intermediate\.dense"):
        found.check_fits(tiny_model(layers=3))


def test_the_basis_is_made_from_the_chosen_blocks_alone():
    model = tiny_model(layers=3)
    seen = []
    hooks = [
        place.linear.weight.register_post_accumulate_grad_hook(lambda p, n=place.block: seen.append(n))
        for place in find_mlp_linears(model)
    ]
    basis = calibrate(model, batches(3), steps=2, probe_steps=1, loss_of=loss_of, blocks=[1])
    for hook in hooks:
        hook.remove()
    assert set(seen) == {1}
    whole = calibrate(model, batches(3), steps=2, probe_steps=1, loss_of=loss_of)
    assert not torch.allclose(basis.kinds["output.dense"].V_energy, whole.kinds["output.dense"].V_energy)


def calibrated(rank: int | None, probe_steps: int = 2, **sizes: int) -> Basis:
    model = tiny_model(**sizes)
    data = batches(6, hidden=sizes.get("hidden", 8))
    return calibrate(model, data, 4, probe_steps, loss_of=loss_of, basis_rank=rank)


@pytest.mark.parametrize("rank", [20, 21, 1000])
def test_a_rank_that_leaves_nothing_out_is_no_truncation(rank):
    torch.testing.assert_close(*(to_tensors(calibrated(r)) for r in (rank, None)), rtol=0, atol=0)


def test_it_keeps_the_energy_that_it_says():
    model, data = tiny_model(hidden=16, inner=40), batches(6, hidden=16)
    basis = calibrate(model, data, 4, 2, loss_of=loss_of, basis_rank=4)
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
        sums = whole[kind]
        assert b.rank == (4, 4)
        assert b.V_energy.sum() == pytest.approx(sums["V"] / sums["all"], abs=1e-10)
        assert b.U_energy.sum() == pytest.approx(sums["U"] / sums["all"], abs=1e-10)
        assert b.energy.sum() == pytest.approx(sums["both"] / sums["unseen"], abs=1e-10)
        assert 0.3 < b.V_energy.sum() < 0.9999
    full = calibrated(None).kinds["output.dense"]
    for energy in (full.V_energy, full.U_energy, full.energy):
        assert energy.sum() == pytest.approx(1)
    assert calibrated(4, probe_steps=0).kinds["output.dense"].energy is None


def test_the_concentration_is_in_entries_and_energy_of_the_whole_gradient():
    def found(rank: int | None):
        model = tiny_model(hidden=16, inner=40)
        return calibrate(model, batches(6, hidden=16), 4, 2, loss_of=loss_of, basis_rank=rank)

    whole, cut_off = found(None), found(1)
    for kind, b in cut_off.kinds.items():
        (before, after), of_whole = b.concentration, whole.kinds[kind].concentration
        assert before == of_whole[0]
        assert after == pytest.approx(b.energy.sum().item(), rel=0.3)
        assert after < of_whole[1]


def test_a_rank_below_one_is_refused():
    with pytest.raises(ValueError, match="basis_rank must be at least 1, got 0"):
        calibrated(0)


@pytest.mark.parametrize("n", [1, 6, 7, 20])
def test_the_sum_times_a_matrix_is_that_of_the_whole_square(n, monkeypatch):
    monkeypatch.setattr(calibrate_module, "STRIP", 6)
    gram, whole = Gram(n, torch.empty(0, dtype=torch.float64)), torch.zeros(n, n, dtype=torch.float64)
    for _ in range(2):
        A = torch.randn(n, 5, dtype=torch.float64)
        gram.add(A)
        whole += A @ A.T
    Q = torch.randn(n, 3, dtype=torch.float64)
    torch.testing.assert_close(gram.times(Q), whole @ Q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strip", [512, 70])
def test_the_leading_eigenvectors_hold_what_the_best_would(decay, dtype, strip, monkeypatch):
    monkeypatch.setattr(calibrate_module, "STRIP", strip)
    n, rank = 400, 60
    values = torch.arange(1, n + 1, dtype=torch.float64) ** -decay
    root = random_orthogonal(n, 3) * values.sqrt()
    gram = Gram(n, torch.empty(0, dtype=dtype))
    gram.add(root.to(dtype))
    again = Gram(n, torch.empty(0, dtype=dtype))
    again.add(root.to(dtype))
    columns, shares = gram.principal(rank)
    assert columns.shape == (n, rank)
    torch.testing.assert_close(columns.T @ columns, torch.eye(rank, dtype=dtype), rtol=0, atol=1e-5)
    best = (values[:rank].sum() / values.sum()).item()
    held = ((root.T @ columns.double()).square().sum() / values.sum()).item()
    assert best - 1e-3 < held <= best + 1e-6
    assert shares.sum().item() == pytest.approx(held, abs=1e-5)
    assert (shares.diff() <= 0).all()
    assert all(torch.equal(*pair) for pair in zip(again.principal(rank), (columns, shares), strict=True))


def test_a_sum_of_lower_rank_than_is_asked_for_gives_orthogonal_directions():
    gram = Gram(200, torch.empty(0))
    gram.add(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)))
    columns, shares = gram.principal(20)
    torch.testing.assert_close(columns.T @ columns, torch.eye(20), rtol=0, atol=1e-5)
    assert shares[:3].sum().item() == pytest.approx(1, abs=1e-4)
    assert Gram(200, torch.empty(0)).principal(20)[1].sum() == 0
