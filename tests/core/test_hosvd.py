"""Calibration: the HOSVD of the gradients, in memory that does not grow with the number of steps."""

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import (
    Basis,
    BasisMismatchError,
    UnsupportedModelError,
    apply_sparsegrad,
    calibrate,
    find_mlp_linears,
    gram,
)

from .models import batches, tiny_model

STEPS = 6


def loss_of(model: nn.Module, batch: tuple) -> torch.Tensor:
    return model(*batch)


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
    monkeypatch.setattr(gram, "STRIP", strip)  # the sums of large matrices are taken in strips
    model = tiny_model()
    stacks = gradient_stacks(model, STEPS)
    basis = calibrate(model, batches(STEPS), steps=STEPS, probe_steps=0, loss_of=loss_of).basis
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
    result = calibrate(model, data, steps=16, probe_steps=4, loss_of=loss_of)
    for concentration in result.concentration.values():
        assert 0 < concentration.before < concentration.after <= 1


def test_the_energy_is_that_of_unseen_gradients_entry_by_entry():
    model = tiny_model()
    data = batches(STEPS + 3)
    basis = calibrate(model, data, steps=STEPS, probe_steps=3, loss_of=loss_of).basis
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


def test_too_few_batches_are_an_error_that_counts_them():
    with pytest.raises(ValueError, match="needs 6 batches; there were 4"):
        calibrate(tiny_model(), batches(4), steps=5, probe_steps=1, loss_of=loss_of)


def test_a_gradient_that_is_not_finite_is_named():
    model = tiny_model()
    with pytest.raises(ValueError, match=r"layer\.1\.output\.dense is not finite"):
        calibrate(model, batches(3), steps=2, loss_of=lambda m, b: m(*b) * float("nan"))


def test_a_basis_goes_through_tensors_and_back():
    model = tiny_model()
    basis = calibrate(
        model, batches(4), steps=3, probe_steps=1, loss_of=loss_of, made_from={"model": "tiny"}
    ).basis
    again = Basis.from_tensors(basis.tensors(), basis.made_from)
    assert again.made_from == {"model": "tiny"}
    torch.testing.assert_close(again.tensors(), basis.tensors(), rtol=0, atol=0)


def test_a_basis_for_another_shape_or_family_is_refused():
    basis = Basis.identity(tiny_model(inner=24))
    with pytest.raises(
        BasisMismatchError, match=r"intermediate\.dense is 24 x 8; in this model it is 20 x 8"
    ):
        apply_sparsegrad(tiny_model(), basis)
    only_one = Basis({"mlp.up_proj": basis.kinds["intermediate.dense"]}, {"model": "llama"})
    with pytest.raises(BasisMismatchError, match=r"made from llama for mlp\.up_proj.*intermediate\.dense"):
        apply_sparsegrad(tiny_model(), only_one)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("output.dense/U"), "output.dense lacks U"),
        (
            lambda t: t.update({"output.dense/U": torch.zeros(3, 4)}),
            "U of output.dense has 4 columns of 3 numbers",
        ),
        (lambda t: t.clear(), "holds no tensors"),
    ],
)
def test_a_broken_basis_is_refused(spoil, message):
    tensors = Basis.identity(tiny_model()).tensors()
    spoil(tensors)
    with pytest.raises(ValueError, match=message):
        Basis.from_tensors(tensors, {})


def test_a_model_without_known_linears_says_what_was_looked_for():
    with pytest.raises(UnsupportedModelError, match=r"Linear has no MLP.*BERT.*DistilBERT.*LLaMA"):
        find_mlp_linears(nn.Linear(2, 2))
