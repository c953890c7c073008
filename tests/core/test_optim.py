"""The masked Adam: its definition, its pages of moments, batches of matrices, what users of torch expect."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import SparseAdamW, apply_sparsegrad, calibrate, find_mlp_linears
from sparsegrad_cli.core.optim import PAGE
from sparsegrad_cli.methods.base import touched_entries

from .models import (
    assert_same_weights,
    batches,
    dense_moment,
    loss_of,
    random_orthogonal,
    some_basis,
    tiny_model,
    train,
)


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


def gradients_of(count: int, steps: int, O: int, I: int, dtype: torch.dtype = torch.float64) -> list:
    """Of `count` matrices at each step; some rows are larger than others, so that pages are used twice."""
    generator = torch.Generator().manual_seed(steps)
    scale = torch.rand(O, 1, generator=generator, dtype=dtype) ** 3
    return [torch.randn(count, O, I, generator=generator, dtype=dtype) * scale for _ in range(steps)]


def step_on(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], gradients: torch.Tensor) -> None:
    for weight, G in zip(weights, gradients, strict=True):
        weight.grad = G.to(weight.dtype)
    optimizer.step()


@given(O=st.integers(1, 9), I=st.integers(1, 9), steps=st.integers(1, 8), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_masked_adam_is_the_one_with_dense_moments(O, I, steps, data):
    kept = data.draw(st.integers(1, O * I))
    gradients = [G[0] for G in gradients_of(1, steps, O, I)]
    expected = torch.ones(O, I, dtype=torch.float64)
    weight = nn.Parameter(expected.clone())
    optimizer = SparseAdamW([{"params": [weight], "k": kept}], lr=0.01)
    for G in gradients:
        step_on(optimizer, [weight], G[None])
    dense_masked_adam(expected, gradients, kept, lr=0.01)
    torch.testing.assert_close(weight.data, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("space", ["whole", "truncated", "none"])
@pytest.mark.parametrize("mask", ["k", "entries", "all"])
def test_matrices_in_one_batch_train_as_each_alone(dtype, space, mask):
    """And as the definition says, through a state dict in the middle."""
    L, O, I, k = 3, 40, 16, 33
    wide = torch.promote_types(dtype, torch.float32)
    r, c = (12, 10) if space == "truncated" else (O, I)
    U, V = random_orthogonal(I, 1, wide)[:, :c], random_orthogonal(O, 2, wide)[:, :r]
    group = {} if space == "none" else {"U": U, "V": V}
    if mask == "k":
        group["k"] = k
    elif mask == "entries" or space == "none":
        group["entries"] = torch.stack([torch.randperm(r * c)[:k].sort().values for _ in range(L)])
    start = [torch.randn(O, I, dtype=wide).to(dtype) for _ in range(L)]
    trained = []
    for batch in (1, L, 2):
        weights = [nn.Parameter(w.clone()) for w in start]
        optimizer = SparseAdamW([{"params": weights, "batch": batch, **group}], lr=1e-2)
        for number, G in enumerate(gradients_of(L, 12, O, I, wide)):
            if number == 6:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = SparseAdamW([{"params": weights, "batch": batch, **group}], lr=1e-3)
                optimizer.load_state_dict(state)
            step_on(optimizer, weights, G)
        trained.append(torch.stack(weights))
        assert touched_entries(optimizer, weights) > 0
    off_by = {torch.float64: 1e-8, torch.float32: 1e-3, torch.bfloat16: 0.1}[dtype]
    change = (trained[0] - torch.stack(start)).norm()
    assert change > 0.1
    for other in trained[1:]:
        assert (other - trained[0]).norm() < off_by * change


def test_a_gradient_that_is_missing_is_passed_over():
    weights = [nn.Parameter(torch.ones(4, 4, dtype=torch.float64)) for _ in range(3)]
    alone = [nn.Parameter(torch.ones(4, 4, dtype=torch.float64)) for _ in range(3)]
    optimizers = [
        SparseAdamW([{"params": weights, "k": 3, "batch": 3}]),
        SparseAdamW([{"params": alone, "k": 3}]),
    ]
    for number, G in enumerate(gradients_of(3, 6, 4, 4)):
        for optimizer, own in zip(optimizers, (weights, alone), strict=True):
            for weight, g in zip(own, G, strict=True):
                weight.grad = g.clone()
            own[number % 4 - 1].grad = None if number % 4 else own[number % 4 - 1].grad
            optimizer.step()
    for ours, theirs in zip(weights, alone, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2])
def test_steps_in_backward_are_those_after_it_and_few_gradients_live_together(batch):
    models, alive = [tiny_model(layers=4) for _ in range(2)], []
    for model, accumulates in zip(models, (True, False), strict=True):
        found = apply_sparsegrad(model, some_basis(model), kept=12, accumulates=accumulates)
        for group in found.groups:
            group["batch"] = batch
        optimizer = found.optimizer(1e-2)
        weights = [place.linear.weight for place in find_mlp_linears(model)]
        for weight in weights:
            weight.register_post_accumulate_grad_hook(
                lambda _, weights=weights: alive.append(sum(w.grad is not None for w in weights))
            )
        train(model, optimizer, 3)
        assert max(alive) == (8 if accumulates else 2 * (batch - 1))
        alive.clear()
    assert_same_weights(*models, atol=1e-10)
    copied = copy.deepcopy(model)
    copied(*batches(1)[0]).backward()
    assert all(place.linear.weight.grad is not None for place in find_mlp_linears(copied))


def test_meprop_moves_only_the_largest_entries_and_their_moments():
    weight = nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))
    optimizer = SparseAdamW([{"params": [weight], "k": 2}], lr=0.1)
    weight.grad = torch.tensor([[0, 3.0, 0, 1], [0, 0, -5, 0], [2, 0, 0, 0]], dtype=torch.float64)
    optimizer.step()
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[0, 1], expected[1, 2] = -0.1, 0.1
    torch.testing.assert_close(weight.data, expected, rtol=0, atol=1e-8)
    for moment in ("exp_avg", "exp_avg_sq"):
        dense = dense_moment(optimizer.state[weight], moment, weight.numel())
        assert dense.view(3, 4).nonzero().tolist() == [[0, 1], [1, 2]]
    assert touched_entries(optimizer, [weight]) == 2
    weight.grad = torch.zeros(3, 4, dtype=torch.float64)
    weight.grad[2, 0] = weight.grad[0, 1] = 1
    optimizer.step()
    assert touched_entries(optimizer, [weight]) == 3
    assert weight.data.nonzero().tolist() == [[0, 1], [1, 2], [2, 0]]


def test_moments_have_room_where_entries_were_chosen_and_no_more():
    weight = nn.Parameter(torch.zeros(100, 80))
    optimizer = SparseAdamW([{"params": [weight], "k": 40}])

    def room_after(chosen: torch.Tensor) -> int:
        weight.grad = torch.zeros(8000).index_fill(0, chosen, 1.0).view(100, 80)
        optimizer.param_groups[0]["k"] = len(chosen)
        optimizer.step()
        return optimizer.state[weight]["exp_avg"].numel() // PAGE

    assert 40 <= room_after(torch.arange(0, 40 * PAGE, PAGE)) <= 45
    assert 40 <= room_after(torch.arange(0, 40 * PAGE)) <= 45
    assert room_after(torch.arange(8000)) == 1000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_moments_are_at_least_float32(dtype):
    weight = nn.Parameter(torch.zeros(2, 2, dtype=dtype))
    optimizer = SparseAdamW([{"params": [weight], "k": 1}])
    step_on(optimizer, [weight], torch.ones(1, 2, 2))
    assert optimizer.state[weight]["exp_avg"].dtype == torch.promote_types(dtype, torch.float32)


def test_the_rest_of_the_model_is_trained_by_adamw():
    model, plain = tiny_model(), tiny_model()
    for m in (model, plain):
        for place in find_mlp_linears(m):
            place.linear.weight.requires_grad_(False)
    train(model, apply_sparsegrad(model, density=0.5).optimizer(1e-2, weight_decay=0.1))
    rest = [p for p in plain.parameters() if p.requires_grad]
    train(plain, torch.optim.AdamW(rest, lr=1e-2, weight_decay=0.1, fused=True))
    assert_same_weights(model, plain, atol=0)


def test_a_rate_may_be_a_tensor_and_a_scheduler_sets_that_of_every_group():
    trained = []
    for lr in (1e-2, torch.tensor(1e-2, dtype=torch.float64)):
        model = tiny_model()
        optimizer = apply_sparsegrad(model, some_basis(model), density=0.1).optimizer(lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
        train(model, optimizer, steps=1)
        scheduler.step()
        after_one = copy.deepcopy(model.state_dict())
        train(model, optimizer, steps=3)
        torch.testing.assert_close(model.state_dict(), after_one, rtol=0, atol=0)
        trained.append(model)
    assert_same_weights(*trained, atol=1e-10)


def test_the_loaded_basis_is_not_copied():
    model = tiny_model()
    optimizer = apply_sparsegrad(model, some_basis(model), density=0.1).optimizer(1e-2)
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        assert group["U"] is saved["U"]


def test_sparsegrad_learns():
    model = tiny_model()
    data = batches(12)
    basis = calibrate(model, data, steps=8, probe_steps=0, loss_of=loss_of)
    for name, p in model.named_parameters():
        p.requires_grad_(name.endswith("dense.weight"))
    optimizer = apply_sparsegrad(model, basis, density=0.05).optimizer(1e-2)
    x, y = data[0]
    first = model(x, y).item()
    for _ in range(60):
        optimizer.zero_grad()
        model(x, y).backward()
        optimizer.step()
    assert model(x, y).item() < 0.5 * first


@pytest.mark.parametrize(
    ("group", "message"),
    [({"k": 0}, "k must be at least 1"), ({"k": 2, "weight_decay": 0.1}, "no weight decay")],
)
def test_bad_groups_are_refused(group, message):
    with pytest.raises(ValueError, match=message):
        SparseAdamW([{"params": [nn.Parameter(torch.zeros(2, 2))], **group}])
