"""What is measured of a gradient, against the same written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsegrad_cli.core import LayerBasis
from sparsegrad_cli.gradients.record import above, energy_curve, energy_map, numbers, pictures


def basis_of(U: torch.Tensor, V: torch.Tensor) -> LayerBasis:
    return LayerBasis(U, V, torch.ones(len(U)), torch.ones(len(V)))


def orthogonal(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size)).Q


def test_what_is_small_is_told_by_the_largest():
    assert above(torch.tensor([0.0, 5e-4, 5e-3, 0.5, 1.0])) == (4, 3, 2)
    assert above(torch.zeros(3)) == (0, 0, 0)


def test_a_map_keeps_the_energy_and_a_small_matrix_stays_as_it_is():
    torch.manual_seed(0)
    G = torch.randn(256, 128)
    cells = energy_map(G)
    assert cells.shape == (64, 64)
    assert (cells.square().mean() * G.numel()).item() == pytest.approx(G.square().sum().item(), rel=1e-5)
    assert torch.allclose(cells[3, 5], G[12:16, 10:12].square().mean().sqrt())
    assert torch.allclose(energy_map(G[:5, :7]), G[:5, :7].abs())


def test_the_curve_is_the_share_of_energy_in_the_largest_entries():
    torch.manual_seed(0)
    G = torch.randn(30, 40)
    shares, energy = energy_curve(G)
    largest_first = np.sort(G.numpy().ravel().astype(float) ** 2)[::-1]
    for share, held in zip(shares.tolist(), energy.tolist(), strict=True):
        count = round(share * G.numel())
        assert held == pytest.approx(largest_first[:count].sum() / largest_first.sum())
    assert (shares[0].item(), shares[-1].item(), energy[-1].item()) == (1 / 1200, 1.0, 1.0)


def test_in_the_basis_of_its_own_singular_vectors_a_gradient_is_sparse():
    torch.manual_seed(0)
    V, U = orthogonal(40), orthogonal(30)
    dY, X = V[:, :2].T.contiguous(), U[:, :2].T.contiguous()  # two tokens: G = V[:, :2] U[:, :2]^T
    dY, X = torch.cat([dY, torch.zeros(3, 40)]), torch.cat([X, torch.randn(3, 30)])
    found = numbers(dY, X, basis_of(U, V))
    assert found["live_rows"] == (2, 2, 2)
    assert found["weight_rotated"].above[1:] == (2, 2)
    assert found["weight"].above[2] > 1000
    assert found["output"].entries == 200
    assert found["energy_rotated"] == pytest.approx(1.0)
    assert found["energy_original"] < 0.2


def test_pictures_are_of_the_same_gradient(monkeypatch):
    torch.manual_seed(0)
    dY, x = torch.randn(20, 5, 12), torch.randn(20, 5, 8)
    rotation = basis_of(orthogonal(8), orthogonal(12))
    drawn = pictures(dY, x, rotation, {"input_ids": torch.zeros(20, 5, dtype=torch.long)})
    G = torch.einsum("bto,bti->oi", dY, x)
    assert np.allclose(drawn["original"], G.abs(), rtol=1e-4)
    assert np.allclose(drawn["corner"], rotation.to_basis(G).abs(), rtol=1e-3, atol=1e-5)
    assert drawn["rows"].shape == (16, 5)
    assert np.allclose(drawn["rows"], dY[:16].norm(dim=2), rtol=1e-5)
