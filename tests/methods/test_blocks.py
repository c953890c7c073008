"""The words that choose blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.methods.base import chosen_blocks

from ..core.models import tiny_model

EIGHT, MANY = (tiny_model(hidden=2, inner=2, layers=layers) for layers in (8, 31))


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
    assert chosen_blocks(EIGHT, words) == blocks


@given(st.sets(st.integers(0, 30), min_size=1))
def test_any_list_of_numbers_is_itself(blocks):
    assert chosen_blocks(MANY, ",".join(map(str, blocks))) == tuple(sorted(blocks))


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
        chosen_blocks(EIGHT, words)
