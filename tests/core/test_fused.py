"""The place "backward": nothing is kept that need not be, and nothing is trained in silence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import Applied, FusedMLP, apply_sparsegrad, find_mlp_linears
from sparsegrad_cli.core.fused import live_rows, pick, put

from .models import assert_same_weights, batches, kept_bytes, some_basis, tiny_model, trained


def fused(recompute: bool = False, **sizes: int | bool) -> Applied:
    model = tiny_model(**sizes)
    return apply_sparsegrad(model, some_basis(model), place="backward", density=0.1, recompute=recompute)


def test_the_hidden_layer_is_kept_twice_by_plain_linears_once_by_ours_never_with_recompute():
    kept = {"plain": kept_bytes(tiny_model(layers=3))}
    for recompute in (False, True):
        found = fused(recompute, layers=3)
        found.optimizer(1e-2)
        kept[recompute] = kept_bytes(found.model)
    hidden_layers = 3 * 4 * 5 * 20 * 8  # blocks, batch, tokens, inner, bytes
    assert kept["plain"] - kept[False] == hidden_layers
    assert kept[False] - kept[True] == hidden_layers


@pytest.mark.parametrize("first_token", [False, True])
def test_recomputing_changes_nothing(first_token):
    ours = [trained(fused(recompute, first_token=first_token), 8) for recompute in (False, True)]
    assert_same_weights(*ours, atol=1e-12)


def test_a_fixed_mask_in_few_columns_trains_as_after_backward():
    models = []
    for place in ("backward", "optimizer"):
        model = tiny_model(hidden=8, inner=400)
        models.append(trained(apply_sparsegrad(model, some_basis(model), "fixed", place, kept=150), 3))
    assert_same_weights(*models, atol=1e-8)


@pytest.mark.parametrize("recompute", [False, True])
def test_no_gradient_is_left_on_the_weights(recompute):
    found = fused(recompute)
    optimizer = found.optimizer(1e-2)
    (x, y), *_ = batches(1)
    before = [weight.clone() for weight in found.adapted]
    found.model(x, y).backward()
    assert all(weight.grad is None for weight in found.adapted)
    assert not any(map(torch.equal, found.adapted, before))
    assert found.model.head.weight.grad is not None
    optimizer.step()


def test_without_an_optimizer_backward_says_so():
    (x, y), *_ = batches(1)
    with pytest.raises(RuntimeError, match="has no optimizer"):
        fused().model(x, y).backward()


def test_frozen_weights_stay_and_need_no_optimizer():
    found, plain = fused(True), tiny_model()
    for weight in found.adapted:
        weight.requires_grad_(False)
    (x, y), *_ = batches(1)
    for m in (found.model, plain):
        m(x, y).backward()
    pairs = [(found.model.head.weight, plain.head.weight)]
    for layer, block in zip(found.layers, plain.layer, strict=True):
        pairs.append((layer.bias, block.intermediate.dense.bias))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_a_linear_alone_gives_its_gradient_and_input():
    """As LLaMA's have it: a product stands between the two linears of a block."""
    torch.manual_seed(0)
    inner, outer = (FusedMLP({"": nn.Linear(*sizes).double()}) for sizes in ((4, 6), (6, 4)))
    taken = {}
    for layer in (inner, outer):
        layer.step = lambda p, dY, x: taken.__setitem__(p, dY.T @ x)
    x, gate = torch.randn(5, 4, dtype=torch.float64), torch.rand(5, 6, dtype=torch.float64)
    outer(inner(x) * gate).square().sum().backward()

    h = (inner.linears[0](x) * gate).detach()
    out = outer.linears[0](h).detach()
    torch.testing.assert_close(taken[outer.weight], 2 * out.T @ h, rtol=0, atol=1e-12)
    dh = 2 * out @ outer.weight.detach() * gate
    torch.testing.assert_close(taken[inner.weight], dh.T @ x, rtol=0, atol=1e-12)


def test_evaluation_keeps_nothing():
    with torch.no_grad():
        (x, y), *_ = batches(1)
        assert fused().model(x, y).grad_fn is None


def test_under_autocast_it_trains_float32_weights():
    model = tiny_model(dtype=torch.float32)
    found = apply_sparsegrad(model, some_basis(model), place="backward", density=0.1, recompute=True)
    optimizer = found.optimizer(1e-2)
    start = [weight.clone() for weight in found.adapted]
    for x, y in batches(3, dtype=torch.float32):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(weight.dtype == torch.float32 for weight in found.adapted)
    assert not any(map(torch.equal, found.adapted, start))


def test_the_model_is_put_together_again():
    found, plain = fused(), tiny_model()
    assert not find_mlp_names(found.model)
    assert list(found.model.state_dict()) == list(plain.state_dict())
    (x, y), *_ = batches(1)
    torch.testing.assert_close(found.model(x, y), plain(x, y), rtol=0, atol=1e-12)
    merged = found.merge()
    assert str(merged) == str(plain)
    assert find_mlp_names(merged) == find_mlp_names(plain)
    torch.testing.assert_close(merged(x, y), plain(x, y), rtol=0, atol=0)


def find_mlp_names(model: nn.Module) -> list[str]:
    try:
        return [place.name for place in find_mlp_linears(model)]
    except ValueError:
        return []


@given(tokens=st.integers(1, 30), columns=st.integers(1, 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_rows_that_are_left_out_are_zero_and_come_back_as_zero(tokens, columns, data):
    alive = torch.tensor(data.draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens)))
    A = torch.zeros(tokens, columns)
    where = torch.randint(columns, (tokens,))
    A[torch.arange(tokens), where] = alive.float()  # one entry, maybe beyond the probed columns
    rows = live_rows(A)
    assert torch.equal(put(pick(A, rows), rows, torch.Size([tokens])), A)
    if int(alive.sum()) <= 0.9 * tokens:
        assert rows is not None
        assert len(rows) == int(alive.sum())
