"""Moments in pages are the dense moments, at a fraction of the room."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import SparseAdamW
from sparsegrad_cli.core.moments import PAGE, dense_moment, no_moments, places


def dense_masked_adam(weight: torch.Tensor, gradients: list[torch.Tensor], kept: int, lr: float) -> None:
    """The masked Adam as its definition reads, with dense moments."""
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, G in enumerate(gradients, 1):
        top = G.abs().flatten().topk(kept).indices
        g, m, v = G.flatten()[top], mean.view(-1), square.view(-1)
        m[top] = 0.9 * m[top] + 0.1 * g
        v[top] = 0.999 * v[top] + 0.001 * g**2
        unbiased = (v[top] / (1 - 0.999**step)).sqrt() + 1e-8
        weight.view(-1)[top] -= lr * m[top] / (1 - 0.9**step) / unbiased


@given(O=st.integers(1, 9), I=st.integers(1, 9), steps=st.integers(1, 8), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_masked_adam_is_the_one_with_dense_moments(O, I, steps, data):
    kept = data.draw(st.integers(1, O * I))
    generator = torch.Generator().manual_seed(steps)
    gradients = [torch.randn(O, I, generator=generator, dtype=torch.float64) for _ in range(steps)]
    expected = torch.ones(O, I, dtype=torch.float64)
    weight = nn.Parameter(expected.clone())
    optimizer = SparseAdamW([{"params": [weight], "kept": kept}], lr=0.01)
    for G in gradients:
        weight.grad = G
        optimizer.step()
    dense_masked_adam(expected, gradients, kept, lr=0.01)
    torch.testing.assert_close(weight.data, expected, rtol=0, atol=1e-12)


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, unique=True), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_every_entry_has_one_place_and_keeps_what_is_put_there(chosen):
    p = torch.zeros(10, 10)
    moments, expected = no_moments(p), torch.zeros(100)
    for number, entries in enumerate(chosen, 1):
        at = places(moments, torch.tensor(entries))
        assert len(at.unique()) == len(entries)
        moments["exp_avg"].view(-1)[at] = number
        expected[entries] = number
    assert dense_moment(moments, "exp_avg", p.shape).flatten().tolist() == expected.tolist()


def test_room_is_made_for_the_pages_that_were_chosen_and_no_more():
    moments = no_moments(torch.zeros(100, 80))
    places(moments, torch.arange(0, 40 * PAGE, PAGE))
    assert moments["pages"] == 40
    assert 40 <= len(moments["exp_avg"]) <= 45
    places(moments, torch.arange(0, 40 * PAGE))
    assert moments["pages"] == 40
    places(moments, torch.arange(8000))
    assert len(moments["exp_avg"]) == len(moments["exp_avg_sq"]) == 1000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_moments_are_at_least_float32(dtype):
    moments = no_moments(torch.zeros(2, 2, dtype=dtype))
    places(moments, torch.tensor([1]))
    assert moments["exp_avg"].dtype == torch.promote_types(dtype, torch.float32)
