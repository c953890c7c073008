"""The Triton kernels of the masked Adam, by Triton's interpreter, against what torch does in their place."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from sparsegrad_cli.core import SparseAdamW

from .models import dense_moment, random_orthogonal


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """The kernels, which run on a CPU where they are defined under TRITON_INTERPRET=1."""
    pytest.importorskip("triton", reason="triton is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        sys.modules.pop("sparsegrad_cli.core.triton_kernels", None)
        from sparsegrad_cli.core import triton_kernels
    return triton_kernels


@pytest.mark.parametrize("n", [24, 1024, 3000])
@pytest.mark.parametrize("k", [1, 2, 17])
def test_the_threshold_is_the_kth_largest_magnitude(kernels, n, k):
    generator = torch.Generator().manual_seed(n)
    S = torch.randn(3, n, generator=generator) * torch.rand(3, n, generator=generator) ** 9
    S[1] = S[1].bfloat16().float()  # with ties
    S[2, 5:] = 0.0
    assert torch.equal(kernels.kth_largest(S, k), S.abs().topk(k, dim=1).values[:, -1])


@pytest.mark.parametrize("space", ["none", "whole", "truncated"])
def test_steps_are_those_of_torch(kernels, space):
    """Two matrices at once, one of whose gradients is missing now and then, through a state dict."""
    O, I, k = 20, 15, 13
    r, c = (7, 6) if space == "truncated" else (O, I)
    group = {"k": k, "batch": 2}
    if space != "none":
        group |= {
            "U": random_orthogonal(I, 1, torch.float32)[:, :c],
            "V": random_orthogonal(O, 2, torch.float32)[:, :r],
        }
    trained, states = [], []
    for triton in (False, True):
        group["triton"] = triton
        weights = [nn.Parameter(torch.ones(O, I)) for _ in range(2)]
        optimizer = SparseAdamW([{"params": weights, **group}], lr=1e-2)
        generator = torch.Generator().manual_seed(0)
        for step in range(8):
            if step == 4:
                saved = optimizer.state_dict()
                optimizer = SparseAdamW([{"params": weights, **group}])
                optimizer.load_state_dict(saved)
            for weight in weights:
                weight.grad = torch.randn(O, I, generator=generator)
            if step % 3 == 1:
                weights[0].grad = None
            optimizer.step()
        trained.append(torch.stack(weights))
        states.append(optimizer.state[weights[0]])
    torch.testing.assert_close(trained[1], trained[0], rtol=0, atol=1e-6)
    assert (trained[0] - 1).abs().max() > 1e-2
    for name in ("step", "page_of", "used"):
        assert torch.equal(states[0][name], states[1][name])
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(dense_moment(states[1], name, r * c), dense_moment(states[0], name, r * c))


def test_more_equal_magnitudes_than_there_is_room_for_do_no_harm(kernels):
    weight = nn.Parameter(torch.zeros(64, 64))
    optimizer = SparseAdamW([{"params": [weight], "k": 4, "triton": True}], lr=0.1)
    for _ in range(3):
        weight.grad = torch.ones(64, 64)
        optimizer.step()
    assert weight.isfinite().all()
    weight.grad = torch.zeros(64, 64)
    before = weight.detach().clone()
    optimizer.step()
    assert torch.equal(weight, before)


@pytest.mark.parametrize("triton", [False, True])
def test_a_gradient_that_is_no_number_shows_in_the_weights(kernels, triton):
    weight = nn.Parameter(torch.zeros(64, 64))
    optimizer = SparseAdamW([{"params": [weight], "k": 4, "triton": triton}], lr=0.1)
    for nans in (1, 64):
        weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        weight.grad[0, :nans] = float("nan")
        optimizer.step()
        assert weight[0].isnan().any()
