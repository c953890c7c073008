"""A SparseGradLinear, in every form, is an nn.Linear whose weight gradient comes in the basis."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import Rotation, SparseGradLinear, sparse_by_dense
from sparsegrad_cli.core.linear import GRAD_FORMS

from .models import random_orthogonal


def pair(
    form: str, O: int, I: int, bias: bool = True, dtype: torch.dtype = torch.float64
) -> tuple[nn.Linear, SparseGradLinear]:
    """The same layer twice, the second adapted; no parameter is shared."""
    torch.manual_seed(0)
    plain, other = (nn.Linear(I, O, bias=bias, dtype=dtype) for _ in range(2))
    other.load_state_dict(plain.state_dict())
    rotation = Rotation(random_orthogonal(I, 1, dtype), random_orthogonal(O, 2, dtype))
    return plain, SparseGradLinear(other, rotation, form)


def weight_gradient(layer: SparseGradLinear) -> torch.Tensor:
    """The gradient of the layer's weight, in the original space."""
    return layer.weight.grad if layer.form == "deferred" else layer.rotation.from_basis(layer.weight.grad)


@pytest.mark.parametrize("form", GRAD_FORMS)
@given(
    O=st.integers(1, 12),
    I=st.integers(1, 12),
    shape=st.lists(st.integers(1, 4), max_size=3),
    bias=st.booleans(),
    zero_rows=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_output_and_gradients_are_those_of_nn_linear(form, O, I, shape, bias, zero_rows):
    plain, layer = pair(form, O, I, bias)
    x = torch.randn(*shape, I, dtype=torch.float64)
    dY = torch.randn(*shape, O, dtype=torch.float64)
    if zero_rows and shape:
        dY[0] = 0
    xs = [x.clone().requires_grad_() for _ in range(2)]
    for module, leaf in zip((plain, layer), xs, strict=True):
        y = module(leaf)
        y.backward(dY)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(xs[1].grad, xs[0].grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(weight_gradient(layer), plain.weight.grad, rtol=0, atol=1e-10)
    if bias:
        torch.testing.assert_close(layer.bias.grad, plain.bias.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("T", "O", "I"), [(2, 6, 9), (7, 6, 9), (500, 6, 9), (2, 9, 6), (7, 9, 6), (500, 9, 6)]
)
def test_the_projection_is_the_same_by_every_order_of_products(T, O, I):
    rotation = Rotation(random_orthogonal(I, 1), random_orthogonal(O, 2))
    dY, X = torch.randn(T, O, dtype=torch.float64), torch.randn(T, I, dtype=torch.float64)
    expected = rotation.V.T @ (dY.T @ X) @ rotation.U
    torch.testing.assert_close(rotation.project(dY, X), expected, rtol=0, atol=1e-10)


@given(O=st.integers(1, 9), I=st.integers(1, 9), data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_sparse_update_is_rotated_back_as_a_dense_one(O, I, data):
    rotation = Rotation(random_orthogonal(I, 1), random_orthogonal(O, 2))
    chosen = data.draw(st.lists(st.integers(0, O * I - 1), unique=True, min_size=1))
    entries, values = torch.tensor(chosen), torch.randn(len(chosen), dtype=torch.float64)
    S = torch.zeros(O * I, dtype=torch.float64)
    S[entries] = values
    W = torch.randn(O, I, dtype=torch.float64)
    expected = W + rotation.V @ S.view(O, I) @ rotation.U.T
    rotation.add_update(W, entries, values)
    torch.testing.assert_close(W, expected, rtol=0, atol=1e-10)


@given(m=st.integers(1, 6), n=st.integers(1, 6), p=st.integers(1, 6), data=st.data())
@settings(max_examples=50, deadline=None)
def test_sparse_by_dense_is_the_product(m, n, p, data):
    rows = torch.tensor(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)))
    columns = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    A = torch.randn(m, n, dtype=torch.float64) * rows[:, None] * columns
    B = torch.randn(n, p, dtype=torch.float64)
    torch.testing.assert_close(sparse_by_dense(A, B), A @ B, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", GRAD_FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_dense_gives_the_plain_layer_back(form, bias):
    plain, layer = pair(form, 7, 5, bias)
    back = layer.dense()
    assert type(back) is nn.Linear
    torch.testing.assert_close(back.weight, plain.weight, rtol=0, atol=1e-12)
    x = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(back(x), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", GRAD_FORMS)
def test_bfloat16_agrees_to_its_precision(form):
    plain, layer = pair(form, 32, 24, dtype=torch.bfloat16)
    xs = [torch.randn(6, 24).bfloat16().requires_grad_() for _ in range(2)]
    xs[1].data.copy_(xs[0].data)
    dY = torch.randn(6, 32).bfloat16()
    ys = [module(x) for module, x in zip((plain, layer), xs, strict=True)]
    for y in ys:
        y.backward(dY)
    assert ys[1].dtype == xs[1].grad.dtype == layer.weight.grad.dtype == torch.bfloat16
    for ours, theirs in (
        (ys[1], ys[0]),
        (xs[1].grad, xs[0].grad),
        (weight_gradient(layer), plain.weight.grad),
    ):
        assert (ours - theirs).float().norm() < 0.03 * theirs.float().norm()


@pytest.mark.parametrize("form", GRAD_FORMS)
def test_under_autocast_it_computes_in_bfloat16_and_leaves_float32_gradients(form):
    plain, layer = pair(form, 32, 24, dtype=torch.float32)
    xs = [torch.randn(2, 3, 24, requires_grad=True) for _ in range(2)]
    xs[1].data.copy_(xs[0].data)
    for module, x in zip((plain, layer), xs, strict=True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = module(x)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
    assert layer.weight.grad.dtype == xs[1].grad.dtype == layer.bias.grad.dtype == torch.float32
    for ours, theirs in (
        (xs[1].grad, xs[0].grad),
        (weight_gradient(layer), plain.weight.grad),
        (layer.bias.grad, plain.bias.grad),
    ):
        assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_the_rotation_is_held_once_and_stays_out_of_the_state_dict():
    rotation = Rotation(random_orthogonal(4, 1), random_orthogonal(6, 2))
    linears = [nn.Linear(4, 6, dtype=torch.float64) for _ in range(3)]
    model = nn.Sequential(*(SparseGradLinear(linear, rotation) for linear in linears)).to(torch.float32)
    assert len({layer.rotation.U.data_ptr() for layer in model}) == 1
    assert set(model.state_dict()) == {f"{i}.{name}" for i in range(3) for name in ("weight", "bias")}


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="folded, deferred, regular, sparse-by-dense"):
        SparseGradLinear(nn.Linear(2, 2), Rotation(torch.eye(2), torch.eye(2)), "fast")
