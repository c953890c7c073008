"""The deferred form: folded, with the projection paid once for all the gradients that were summed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.core import apply_sparsegrad, merge, sparse_adamw

from .models import batches, tiny_model
from .test_optimizer import assert_same_weights, random_basis


def trained(form: str, parts: int, steps: int = 3, density: float = 0.05) -> torch.nn.Module:
    """After `steps` optimizer steps, each on a batch of 4 cut into `parts`."""
    model = tiny_model()
    apply_sparsegrad(model, random_basis(model), form)
    optimizer = sparse_adamw(model, lr=1e-2, density=density)
    for x, y in batches(steps):
        optimizer.zero_grad()
        for x_part, y_part in zip(x.chunk(parts), y.chunk(parts), strict=True):
            (model(x_part, y_part) / parts).backward()
        optimizer.step()
    return merge(model)


@given(steps=st.integers(1, 5), density=st.floats(0.01, 1), parts=st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_it_trains_as_folded_does_on_the_whole_batch(steps, density, parts):
    assert_same_weights(
        trained("deferred", parts, steps, density), trained("folded", 1, steps, density), atol=1e-9
    )


def test_parts_of_a_batch_are_the_batch():
    assert_same_weights(trained("deferred", 4), trained("deferred", 1), atol=1e-9)


def test_the_projection_is_taken_once_a_step(monkeypatch):
    model = tiny_model(layers=3)
    layers = apply_sparsegrad(model, random_basis(model), "deferred")
    optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
    taken = []
    for rotation in {layer.rotation for layer in layers}:
        real = rotation.to_basis
        monkeypatch.setattr(rotation, "to_basis", lambda G, real=real: taken.append(G) or real(G))
    for x, y in batches(5):
        model(x, y).backward()
    assert not taken
    optimizer.step()
    assert [id(G) for G in taken] == [id(layer.weight.grad) for layer in layers]


def test_merge_gives_the_trained_plain_model():
    model, plain = trained("deferred", 2), tiny_model()
    assert str(model) == str(plain)
    plain.load_state_dict(model.state_dict())
    x, y = batches(1)[0]
    torch.testing.assert_close(plain(x, y), model(x, y), rtol=0, atol=0)


def test_under_autocast_its_gradients_are_float32():
    model = tiny_model(dtype=torch.float32)
    layers = apply_sparsegrad(model, random_basis(model), "deferred")
    x, y = batches(1, dtype=torch.float32)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x, y)
    loss.backward()
    assert all(layer.weight.grad.dtype == torch.float32 for layer in layers)


def test_a_gradient_that_is_missing_is_passed_over():
    model = tiny_model()
    layers = apply_sparsegrad(model, random_basis(model), "deferred")
    optimizer = sparse_adamw(model, lr=1e-2, density=0.1)
    before = layers[0].weight.clone()
    x, y = batches(1)[0]
    model(x, y).backward()
    layers[0].weight.grad = None
    optimizer.step()
    assert torch.equal(layers[0].weight, before)
    with pytest.raises(AssertionError):
        assert_same_weights(merge(model), tiny_model(), atol=1e-6)
