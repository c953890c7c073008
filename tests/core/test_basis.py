"""A basis: products with it, and the models that it fits."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.core import Basis, BasisMismatchError
from sparsegrad_cli.core.basis import add_update, cheapest_order, product
from sparsegrad_cli.store.basis_file import to_tensors

from .models import identity_basis, random_orthogonal, some_basis, tiny_model


@given(sizes=st.lists(st.integers(1, 30), min_size=3, max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_order_of_products_takes_fewer_operations(sizes):
    def best(n: tuple[int, ...]) -> int:
        if len(n) == 2:
            return 0
        return min(best(n[: i + 1]) + best(n[i:]) + n[0] * n[i] * n[-1] for i in range(1, len(n) - 1))

    count, order = cheapest_order(tuple(sizes))
    assert count == best(tuple(sizes))
    assert len(order) == len(sizes) - 2
    matrices = [torch.randn(m, n, dtype=torch.float64) for m, n in itertools.pairwise(sizes)]
    expected = matrices[0]
    for matrix in matrices[1:]:
        expected = expected @ matrix
    torch.testing.assert_close(product(*matrices), expected)


def test_a_product_with_bfloat16_ends_in_float32():
    """Entries that are chosen by magnitude must not tie where eight bits end."""
    dY, x = torch.randn(64, 20).bfloat16(), torch.randn(64, 8).bfloat16()
    U, V = random_orthogonal(8, 1, torch.float32), random_orthogonal(20, 2, torch.float32)
    G = product(V.T, dY.T, x, U)
    assert G.dtype == torch.float32
    assert len(G.abs().unique()) == G.numel()
    expected = V.T @ (dY.float().T @ x.float()) @ U
    assert (G - expected).norm() < 0.02 * expected.norm()


def test_random_directions_are_orthogonal_and_of_their_seed():
    basis = Basis.random(tiny_model(), seed=1, rank=6)
    assert basis.is_truncated
    for b in basis.kinds.values():
        for Q in (b.U, b.V):
            identity = torch.eye(Q.shape[1], dtype=Q.dtype)
            torch.testing.assert_close(Q.T @ Q, identity, rtol=0, atol=1e-12)
            assert Q.shape[1] == 6
    again, other = Basis.random(tiny_model(), 1, rank=6), Basis.random(tiny_model(), 2, rank=6)
    torch.testing.assert_close(to_tensors(again), to_tensors(basis), rtol=0, atol=0)
    assert not torch.equal(other.kinds["output.dense"].U, basis.kinds["output.dense"].U)


def test_a_matrix_goes_to_the_basis_and_back():
    for b in some_basis(tiny_model()).kinds.values():
        G = torch.randn(b.shape, dtype=torch.float64)
        torch.testing.assert_close(b.to_basis(G), b.V.T @ G @ b.U)
        torch.testing.assert_close(b.V @ b.to_basis(G) @ b.U.T, G, rtol=0, atol=1e-12)


@pytest.mark.parametrize("T", [2, 7, 15, 500])
@pytest.mark.parametrize(("O", "I"), [(6, 9), (9, 6), (7, 7)])
@pytest.mark.parametrize(("r", "c"), [(1, 1), (2, 5), (5, 2), (6, 6), (6, 1)])
def test_the_projection_is_the_leading_corner_by_every_order_of_products(T, O, I, r, c):
    U, V = random_orthogonal(I, 1), random_orthogonal(O, 2)
    dY, X = torch.randn(T, O, dtype=torch.float64), torch.randn(T, I, dtype=torch.float64)
    expected = (V.T @ (dY.T @ X) @ U)[:r, :c]
    U, V = U[:, :c], V[:, :r]
    torch.testing.assert_close(product(V.T, dY.T, X, U), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(product(V.T, dY.T @ X, U), expected, rtol=0, atol=1e-10)
    entries, values = torch.randperm(r * c)[: r * c // 2 + 1], torch.randn(r * c, dtype=torch.float64)
    values = values[: len(entries)]
    S = torch.zeros(r * c, dtype=torch.float64).index_copy(0, entries, values).view(r, c)
    W = torch.randn(O, I, dtype=torch.float64)
    moved = [W.clone(), W.clone()]
    add_update(moved, torch.stack([values, 2 * values]), entries.expand(2, -1), U, V)
    for times, matrix in enumerate(moved, 1):
        torch.testing.assert_close(matrix, W + times * V @ S @ U.T, rtol=0, atol=1e-10)


def test_a_basis_for_another_shape_or_family_is_refused():
    basis = identity_basis(tiny_model(inner=24))
    with pytest.raises(
        BasisMismatchError, match=r"intermediate\.dense is 24 x 8; in this model it is 20 x 8"
    ):
        basis.check_fits(tiny_model())
    only_one = Basis({"mlp.up_proj": basis.kinds["intermediate.dense"]}, {"model": "llama"})
    with pytest.raises(BasisMismatchError, match=r"made from llama for mlp\.up_proj.*intermediate\.dense"):
        only_one.check_fits(tiny_model())


def test_a_basis_fits_the_blocks_that_are_looked_at():
    model = tiny_model(layers=2)
    model.layer[1] = tiny_model(layers=1, inner=24).layer[0]
    basis = some_basis(tiny_model(layers=1))
    basis.check_fits(model, blocks=[0])
    with pytest.raises(ValueError, match=r"layer\.1"):
        basis.check_fits(model)
    assert identity_basis(model, blocks=[0]).kinds["output.dense"].shape == (8, 20)
