"""Sums of `A A^T`, and their eigenvectors where all are not wanted."""

import pytest
import torch

from sparsegrad_cli.core import gram as gram_module
from sparsegrad_cli.core.gram import Gram

from .models import random_orthogonal


@pytest.mark.parametrize("n", [1, 6, 7, 20])
def test_the_sum_times_a_matrix_is_that_of_the_whole_square(n, monkeypatch):
    monkeypatch.setattr(gram_module, "STRIP", 6)
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
    monkeypatch.setattr(gram_module, "STRIP", strip)
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
