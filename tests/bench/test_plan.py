"""What is measured: model, data and batches, and the configuration that names all that decides."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsegrad_cli.bench.run import choose_rows, plan_bench
from sparsegrad_cli.bench.target import LENGTHS
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.settings import config_id

from ..checkpoints import tiny_checkpoint
from ..planned import write_cola
from .targets import small


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "bert", "bert"))


DYNAMIC = [
    f"sparsegrad {place}"
    for place in ("optimizer", "backward", "backward recompute", "regular", "sparse-by-dense")
]


def names(*given):
    return [row.name for row in choose_rows(*given)]


def test_a_row_for_each_method_and_of_sparsegrad_for_each_place_and_mask():
    once = ["sparsegrad fixed", "sparsegrad block"]
    assert names((), (), ()) == ["ft", "lora", "meprop", *DYNAMIC, *once]
    assert names(["sparsegrad", "lora"], (), ()) == ["lora", *DYNAMIC, *once]


@pytest.mark.parametrize(
    ("places", "masks", "expected"),
    [
        (["optimizer"], [], ["sparsegrad optimizer"]),
        ([], ["block"], ["sparsegrad block"]),
        ([], ["dynamic"], DYNAMIC),
        (["optimizer"], ["dynamic"], ["sparsegrad optimizer"]),
        (["regular", "optimizer"], ["fixed"], [*DYNAMIC[:1], "sparsegrad regular", "sparsegrad fixed"]),
    ],
)
def test_places_and_masks_name_the_rows(places, masks, expected):
    assert names(["sparsegrad"], places, masks) == expected


def test_a_truncated_basis_has_the_places_that_take_it():
    assert names(["sparsegrad"], (), ["dynamic"], 4) == [*DYNAMIC[:3], "sparsegrad adapter"]
    assert names(["sparsegrad"], ["adapter"], (), 4) == ["sparsegrad adapter"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"methods": ["sparsegrad"], "places": ["adapter"]}, "--place adapter: give --basis-rank"),
        ({"places": ["regular"], "basis_rank": 4}, "--place regular: leave --basis-rank out"),
        ({"methods": ["ft"], "density": None, "basis_rank": 4}, "--basis-rank is not used"),
        ({"density": 0.5, "basis_rank": 4}, "truncated to 4 x 4"),
        ({"methods": ["lorra"]}, "did you mean lora"),
        ({"methods": ["sparsegrad"], "places": ["optimiser"]}, "did you mean optimizer"),
        ({"methods": ["ft"], "places": ["optimizer"]}, "--method sparsegrad"),
        ({"methods": ["ft"], "density": 0.1}, "--density is not used"),
        ({"methods": ["lora"], "density": None, "rank": 1000}, "--rank 1000"),
        ({"methods": ["meprop"], "density": None, "kept": 10**6}, "have 2048 entries"),
        ({"density": 2.0}, "at most 1"),
        ({"density": 0.1, "kept": 3}, "exclude one another"),
        ({"padding": ["none"]}, "random tokens are all of --length"),
        ({"padding": ["widest"]}, "--padding"),
        ({"lengths": "rt"}, "did you mean rte"),
        ({"lengths": "rte", "task": "cola", "data": "demo"}, "exclude one another"),
        ({"layers": 3}, "has 2 blocks"),
        ({"length": 1000}, "positions for 130"),
        ({"precision": "tf32", "device": "cpu"}, "CUDA"),
    ],
)
def test_what_cannot_be_measured_is_refused(model, how, words):
    with pytest.raises(InputError, match=words):
        plan_bench(small(model, **how))


def test_a_known_model_with_random_weights_needs_nothing_from_the_hub():
    config, found = plan_bench(small("FacebookAI/roberta-base", init="random"))
    assert sum(p.numel() for p in found.skeleton.parameters()) == 124_647_170
    assert config.checkpoint == "random:config:roberta-base"
    assert (config.rank, config.burn_in) == (7, 2)
    assert plan_bench(small("roberta-large", init="random"))[0].rank == 10


def test_random_weights_take_a_folder_with_nothing_but_a_configuration(model, tmp_path):
    (tmp_path / "config.json").write_bytes((Path(model) / "config.json").read_bytes())
    config, found = plan_bench(small(str(tmp_path), init="random", layers=1))
    assert len(found.shapes) == 2
    assert config.checkpoint.startswith("random:config:sha256:")
    with pytest.raises(InputError, match="tokenizer"):
        plan_bench(small(str(tmp_path), init="random", task="cola", data="demo"))


def test_random_batches_have_no_padding_and_are_the_same_for_the_same_seed(model):
    _, found = plan_bench(small(model))
    first, second = (next(found.batches()) for _ in range(2))
    assert torch.equal(first["input_ids"], second["input_ids"])
    assert first["input_ids"].shape == (2, 8)
    assert not (first["input_ids"] == found.skeleton.config.pad_token_id).any()
    other = next(plan_bench(small(model, seed=1))[1].batches())
    assert not torch.equal(first["input_ids"], other["input_ids"])


def test_rows_repeat_for_each_padding(model, tmp_path):
    data = str(write_cola(tmp_path / "glue"))
    padding = ["none", "max", "longest", "none"]
    config, _ = plan_bench(
        small(model, methods=["ft", "lora"], density=None, task="cola", data=data, padding=padding)
    )
    assert [(row.method, row.padding) for row in config.rows] == [
        (method, padding) for padding in ("none", "max", "longest") for method in ("ft", "lora")
    ]
    config, _ = plan_bench(small(model, methods=["ft"], density=None, lengths="rte"))
    assert [row.padding for row in config.rows] == ["none"]


@pytest.mark.parametrize("task", LENGTHS)
def test_lengths_are_those_of_glue_and_their_tokens_are_random(model, task):
    _, found = plan_bench(small(model, batch_size=64, length=128, lengths=task, density=None))
    batches = [batch for batch, _ in zip(found.batches(), range(20), strict=False)]
    lengths = torch.cat([batch["attention_mask"].sum(1) for batch in batches])
    assert min(LENGTHS[task]) <= lengths.min() < lengths.max() <= 128
    assert lengths.float().median() == pytest.approx(LENGTHS[task][10], abs=3)
    for batch in batches:
        is_padding = batch["input_ids"] == found.pad_token
        assert torch.equal(is_padding, batch["attention_mask"] == 0)
        assert batch["attention_mask"].sum(1).max() == batch["input_ids"].shape[1]


def test_a_tasks_batches_are_padded_to_their_longest(model, tmp_path):
    data = str(write_cola(tmp_path / "glue"))
    config, found = plan_bench(small(model, task="cola", data=data, batch_size=4, length=64))
    batch = next(found.batches())
    assert batch["attention_mask"].sum(1).max() == batch["input_ids"].shape[1] < 64
    assert config.data_revision == found.data.sha256
    with pytest.raises(InputError, match="64 training examples"):
        plan_bench(small(model, task="cola", data=data, batch_size=65))


def test_the_folders_name_depends_on_all_that_was_asked_for(model):
    config, _ = plan_bench(small(model))
    assert config_id(config) == config_id(plan_bench(small(model))[0])
    assert config_id(config) != config_id(plan_bench(small(model, length=9))[0])
