"""Where the MLP of a model is."""

import pytest
from torch import nn

from sparsegrad_cli.core import UnsupportedModelError, apply_sparsegrad, find_mlp_linears

from .models import tiny_model


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
