"""Which blocks are meant, and that nothing else is touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import (
    Basis,
    apply_confined,
    apply_meprop,
    apply_sparsegrad,
    calibrate,
    choose_blocks,
    find_mlp_linears,
    merge,
    sparse_adamw,
)

from .models import batches, tiny_model
from .test_confined import basis_with_energy
from .test_optimizer import random_basis, train

CHOSEN = (0, 2)


@pytest.mark.parametrize(
    ("words", "blocks"),
    [
        ("all", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("every:3", (0, 3, 6)),
        ("every:9", (0,)),
        ("5", (5,)),
        ("0,3,5", (0, 3, 5)),
        ("6, 0-3", (0, 1, 2, 3, 6)),
    ],
)
def test_words_name_blocks(words, blocks):
    assert choose_blocks(words, 8) == blocks


@given(st.sets(st.integers(0, 30), min_size=1))
def test_any_list_of_numbers_is_itself(blocks):
    assert choose_blocks(",".join(map(str, blocks)), 31) == tuple(sorted(blocks))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", r"all, every:3 .*0-3,8.*not by ''"),
        ("every:0", "all, every:3"),
        ("every:-1", "all, every:3"),
        ("1,,2", "all, every:3"),
        ("-1", "all, every:3"),
        ("5-3", "as 3-5; got 5-3"),
        ("0,8", "no block 8: the model has 8, numbered 0 to 7"),
        ("0-99999999999", "the model has 8"),
        ("1,0-3", "block 1 is given twice"),
    ],
)
def test_other_words_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        choose_blocks(words, 8)


def test_a_block_that_is_not_there_is_refused_even_where_others_are_taken():
    model = tiny_model(layers=3)
    for blocks, message in (((1, 3), "no block 3: the model has 3"), ((), "no block is chosen")):
        with pytest.raises(ValueError, match=message):
            find_mlp_linears(model, blocks)
    apply_meprop(model, blocks=[2])
    assert {place.block for place in find_mlp_linears(model, [0, 1])} == {0, 1}


APPLY = {
    "streamed": lambda model, basis: apply_sparsegrad(model, basis, "streamed", blocks=CHOSEN),
    "deferred": lambda model, basis: apply_sparsegrad(model, basis, "deferred", blocks=CHOSEN),
    "meprop": lambda model, basis: apply_meprop(model, blocks=CHOSEN),
    "plain meprop": lambda model, basis: None,
    "confined": lambda model, basis: apply_confined(model, basis, "block", density=0.1, blocks=CHOSEN),
}


@pytest.mark.parametrize("method", APPLY)
def test_only_the_chosen_blocks_are_trained(method):
    model, start = tiny_model(layers=3), tiny_model(layers=3)
    for p in model.parameters():
        p.requires_grad_(False)
    for place in find_mlp_linears(model, CHOSEN):
        place.linear.weight.requires_grad_(True)
    APPLY[method](model, basis_with_energy(model))
    if method == "confined":
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    else:
        optimizer = sparse_adamw(model, lr=1e-2, density=0.1, blocks=CHOSEN)
    train(model, optimizer, steps=3)
    after = dict(merge(model).named_parameters())
    moved = {name for name, p in start.named_parameters() if not torch.equal(p, after[name])}
    assert moved == {
        f"layer.{n}.{kind}.weight" for n in CHOSEN for kind in ("intermediate.dense", "output.dense")
    }


def test_the_basis_is_made_from_the_chosen_blocks_alone():
    def loss_of(model: nn.Module, batch: tuple) -> torch.Tensor:
        return model(*batch)

    model = tiny_model(layers=3)
    seen = []
    hooks = [
        place.linear.weight.register_post_accumulate_grad_hook(lambda p, n=place.block: seen.append(n))
        for place in find_mlp_linears(model)
    ]
    basis = calibrate(model, batches(3), steps=2, probe_steps=1, loss_of=loss_of, blocks=[1]).basis
    for hook in hooks:
        hook.remove()
    assert set(seen) == {1}
    whole = calibrate(model, batches(3), steps=2, probe_steps=1, loss_of=loss_of).basis
    assert not torch.allclose(basis.kinds["output.dense"].V_energy, whole.kinds["output.dense"].V_energy)


def test_a_basis_fits_the_blocks_that_are_looked_at():
    model = tiny_model(layers=2)
    model.layer[1] = tiny_model(layers=1, inner=24).layer[0]
    basis = random_basis(tiny_model(layers=1))
    basis.check_fits(model, blocks=[0])
    with pytest.raises(ValueError, match=r"layer\.1"):
        basis.check_fits(model)
    assert Basis.identity(model, blocks=[0]).kinds["output.dense"].shape == (8, 20)
