"""Where the MLP of a model is, and which blocks are meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparsegrad_cli.core import UnsupportedModelError, apply_sparsegrad, choose_blocks, find_mlp_linears

from .models import tiny_model


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
    apply_sparsegrad(model, place="backward", kept=3, blocks=[2])
    assert {place.block for place in find_mlp_linears(model, [0, 1])} == {0, 1}


def test_a_model_without_known_linears_says_what_was_looked_for():
    with pytest.raises(UnsupportedModelError, match=r"Linear has no MLP.*BERT.*DistilBERT.*LLaMA"):
        find_mlp_linears(nn.Linear(2, 2))
