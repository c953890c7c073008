"""What a step cannot avoid, against counts by hand and by torch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, DistilBertConfig, RobertaConfig

from sparsegrad_cli.bench.floors import Trained, count_work, read_architecture
from sparsegrad_cli.bench.schema import RowSpec
from sparsegrad_cli.models.random import random_classifier

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
DIMS = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
CONFIGS = [
    BertConfig(vocab_size=50, **SIZES),
    RobertaConfig(vocab_size=50, **SIZES),
    DistilBertConfig(vocab_size=50, **DIMS),
]
LENGTHS = [8, 8, 8]


def trained(row: RowSpec, freeze_rest: bool = False, **how: int) -> Trained:
    nothing = {"dense": 0, "masked": 0, "kept": 0, "rank": 0, "basis_bytes": 0, "saved_bytes": 0}
    return Trained(row=row, freeze_rest=freeze_rest, corners={}, **{**nothing, **how})


FT = RowSpec(method="ft")


def work(config=CONFIGS[0], row=FT, **how):
    loaded = random_classifier(config)
    return count_work(read_architecture(loaded.model, loaded.head, LENGTHS), trained(row, **how))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_full_fine_tuning_counts_what_torch_counts_but_for_rows_without_gradient(config):
    loaded = random_classifier(config)
    ids = torch.randint(2, 50, (3, 8))
    with FlopCounterMode(display=False) as counter:
        loaded.model(input_ids=ids, labels=torch.tensor([0, 1, 0])).loss.backward()
    counted = work(config).operations
    # in the last block 21 of 24 rows have no gradient in three linears, of both their products in backward
    without = 2 * 2 * 21 * (32 * 32 + 2 * 32 * 64)
    assert counted == pytest.approx(counter.get_total_flops() - without, rel=0.02)


def test_a_frozen_rest_takes_no_weight_gradient_and_nothing_before_the_first_mlp():
    T, H, M, blocks = 24, 32, 64, 2
    attention = blocks * 4 * 3 * 8 * 8 * H
    forward = blocks * 2 * T * (4 * H * H + 2 * H * M) + 2 * 3 * (H * H + 2 * H)
    # input gradients: the second MLP linear of block 0, attention of block 1 and what it feeds, the head
    inputs = 2 * T * H * M + 2 * T * 3 * H * H + 2 * 3 * (H * H + 2 * H * M) + 2 * 3 * (H * H + 2 * H)
    weights = 2 * (T + 3) * 2 * H * M + 2 * 3 * 2 * H
    expected = attention + attention + forward + inputs + weights
    assert work(freeze_rest=True).operations == expected


def sparsegrad(place: str, **how: bool) -> RowSpec:
    return RowSpec(method="sparsegrad", basis="calibrated", mask="dynamic", place=place, **how)


def test_the_places_of_sparsegrad_cost_more_than_fine_tuning_and_lora_less():
    ft = work().operations
    lora = work(row=RowSpec(method="lora"), rank=2).operations
    by_place = {
        place: work(row=sparsegrad(place), kept=80).operations
        for place in ("backward", "optimizer", "regular", "sparse-by-dense")
    }
    recompute = work(row=sparsegrad("backward", recompute=True), kept=80).operations
    assert lora < ft < by_place["backward"] < recompute
    # tokens are fewer than rows and columns: after the sum over them there is more to multiply
    assert by_place["optimizer"] > by_place["backward"]
    assert by_place["regular"] == by_place["sparse-by-dense"] > ft
    meprop = RowSpec(method="meprop", basis="none", mask="dynamic", place="backward")
    assert work(row=meprop, kept=80).operations == ft


def test_bytes_are_those_of_the_weights_the_moments_and_what_is_saved():
    weights = 4 * 2 * (2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32 + 2 * 32)
    assert work(dense=1000, saved_bytes=10, basis_bytes=7).bytes == weights + 32 * 1000 + 2 * 10 + 7
    assert work(row=sparsegrad("backward"), masked=100, kept=3).bytes == weights + 28 * 3 + 16 * 100
