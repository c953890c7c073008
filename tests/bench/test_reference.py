"""The paper's layer: an nn.Linear whose weight gradient comes in the basis, and that trains as ours do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.bench.reference import REFERENCE_FORMS, ReferenceLinear, apply_reference, sparse_by_dense
from sparsegrad_cli.core import LayerBasis, apply_sparsegrad

from ..core.models import (
    assert_same_weights,
    batches,
    random_orthogonal,
    some_basis,
    tiny_model,
    train,
    trained,
)


def pair(form: str, O: int, I: int, bias: bool = True) -> tuple[nn.Linear, ReferenceLinear, LayerBasis]:
    """The same layer twice, the second adapted; no parameter is shared."""
    torch.manual_seed(0)
    plain, other = (nn.Linear(I, O, bias=bias, dtype=torch.float64) for _ in range(2))
    other.load_state_dict(plain.state_dict())
    basis = LayerBasis(random_orthogonal(I, 1), random_orthogonal(O, 2), torch.ones(I) / I, torch.ones(O) / O)
    return plain, ReferenceLinear(other, basis, form), basis


@pytest.mark.parametrize("form", REFERENCE_FORMS)
@given(
    O=st.integers(1, 12),
    I=st.integers(1, 12),
    shape=st.lists(st.integers(1, 4), max_size=3),
    bias=st.booleans(),
    zero_rows=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_output_and_gradients_are_those_of_nn_linear(form, O, I, shape, bias, zero_rows):
    plain, layer, basis = pair(form, O, I, bias)
    x = torch.randn(*shape, I, dtype=torch.float64)
    dY = torch.randn(*shape, O, dtype=torch.float64)
    if zero_rows and shape:
        dY[0] = 0
    xs = [x.clone().requires_grad_() for _ in range(2)]
    for module, leaf in zip((plain, layer), xs, strict=True):
        module(leaf).backward(dY)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(xs[1].grad, xs[0].grad, rtol=0, atol=1e-10)
    G = basis.V @ layer.weight.grad @ basis.U.T
    torch.testing.assert_close(G, plain.weight.grad, rtol=0, atol=1e-10)
    if bias:
        torch.testing.assert_close(layer.bias.grad, plain.bias.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", REFERENCE_FORMS)
@pytest.mark.parametrize("first_token", [True, False])
def test_it_trains_as_the_three_places_do(form, first_token):
    model, paper = tiny_model(first_token=first_token), tiny_model(first_token=first_token)
    ours = trained(apply_sparsegrad(model, some_basis(model), density=0.05))
    theirs = trained(apply_reference(paper, some_basis(paper), form, density=0.05))
    assert str(theirs) == str(tiny_model())
    assert_same_weights(theirs, ours, atol=1e-8)


@pytest.mark.parametrize("form", REFERENCE_FORMS)
def test_under_autocast_it_trains_float32_weights(form):
    model = tiny_model(dtype=torch.float32)
    found = apply_reference(model, some_basis(model), form, density=0.1)
    optimizer = found.optimizer(1e-2)
    for x, y in batches(2, dtype=torch.float32):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(x, y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.dtype == torch.float32 for p in found.adapted)
        optimizer.step()


def test_a_truncated_basis_would_lose_the_weights_and_is_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match="truncated basis would lose the rest of W"):
        apply_reference(model, some_basis(model, (3, 3)), "regular", kept=3)
    with pytest.raises(ValueError, match="form must be one of"):
        apply_reference(model, some_basis(model), "folded", kept=3)


@given(m=st.integers(1, 8), n=st.integers(1, 8), p=st.integers(1, 8), data=st.data())
@settings(max_examples=60, deadline=None)
def test_dropping_zero_rows_and_columns_changes_no_product(m, n, p, data):
    rows = torch.tensor(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)))
    columns = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    A = torch.randn(m, n, dtype=torch.float64) * rows[:, None] * columns
    B = torch.randn(n, p, dtype=torch.float64)
    torch.testing.assert_close(sparse_by_dense(A, B), A @ B, rtol=0, atol=1e-12)


def test_any_optimizer_sees_the_gradient_in_the_basis():
    model = tiny_model()
    found = apply_reference(model, some_basis(model), density=1.0)
    (x, y), *_ = batches(1)
    before = model(x, y).item()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 1)
    assert model(x, y).item() < before
    assert len(found.layers) == 4
