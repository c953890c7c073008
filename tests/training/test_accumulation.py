"""A batch in parts trains as the whole one does; and is what a run without enough memory falls back to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification, TrainerCallback

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.store.schema import Environment, Result
from sparsegrad_cli.training.cell import Cell
from sparsegrad_cli.training.choices import Choices
from sparsegrad_cli.training.loop import make_trainer
from sparsegrad_cli.training.plan import plan
from sparsegrad_cli.training.run import adapt, load_model, run

from ..cells import WORDS, PowerCutError, RecordingWatch, make_cell, write_cola
from ..checkpoints import tiny_checkpoint

TRAIN = 42  # in batches of 16 the last is one of 10
VARIANTS: dict[str, dict[str, object]] = {
    "ft": {},
    "lora": {},
    "meprop": {"density": 0.05},
    "sparsegrad": {"density": 0.05, "calibration_steps": 2},
    "sparsegrad folded": {"density": 0.05, "calibration_steps": 2, "form": "folded"},
    "sparsegrad regular": {"density": 0.05, "calibration_steps": 2, "form": "regular"},
    "sparsegrad fixed": {"density": 0.05, "calibration_steps": 2, "support": "fixed"},
    "sparsegrad block": {"density": 0.05, "calibration_steps": 2, "support": "block"},
}


def write_stsb(folder: Path) -> None:
    """Pairs whose score is how many of the words of one are in the other."""
    chosen = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split, rows in (("train", TRAIN), ("validation", 8)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for idx in range(rows):
                one, other = (chosen.choice(WORDS, chosen.integers(2, 9)) for _ in range(2))
                label = 5 * len({*one} & {*other}) / len({*one, *other})
                texts = {"sentence1": " ".join(one), "sentence2": " ".join(other)}
                file.write(json.dumps({**texts, "label": label, "idx": idx}) + "\n")


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Choices:
    """Of a model without dropout, whose draws would tell parts from a whole."""
    folder = tmp_path_factory.mktemp("inputs")
    model = tiny_checkpoint(folder / "model", "bert")
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    write_cola(folder / "glue", train=TRAIN, dev=12)
    write_stsb(folder / "glue" / "stsb")
    return Choices(
        model=str(model),
        task="cola",
        data=str(folder / "glue"),
        methods=["ft"],
        learning_rate=1e-3,
        batch_size=16,
        epochs=1,
        patience=0,
        length=24,
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def of_variant(choices: Choices, variant: str, **changes: object) -> Choices:
    return dataclasses.replace(choices, methods=[variant.split()[0]], **VARIANTS[variant] | changes)


class Gradients(TrainerCallback):
    """What every optimizer step is made from."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs):
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        self.steps.append(found)


def train_in(parts: int, cell: Cell) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """An epoch in float64 with each batch in so many parts; the gradients, and the plain model's weights."""
    cell.folder.path.mkdir(parents=True, exist_ok=True)
    loaded = load_model(cell.config, cell.inputs)
    method = adapt(cell, loaded, parts)
    loaded.model.double()
    trainer = make_trainer(loaded.model, method.optimizer(cell.config.learning_rate), cell, parts)
    seen = Gradients()
    trainer.add_callback(seen)
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.args.load_best_model_at_end = False
    trainer.train()
    return seen.steps, method.merge().state_dict()


@pytest.mark.parametrize("task", ["cola", "stsb"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_make_the_gradient_of_the_whole_batch(variant, task, choices, tmp_path):
    cell = make_cell(tmp_path, RecordingWatch(), of_variant(choices, variant, task=task))
    gradients, weights = train_in(1, cell)
    assert len(gradients) == 3
    for parts in (2, 4):
        in_parts, weights_in_parts = train_in(parts, cell)
        assert len(in_parts) == 3
        for whole, summed in zip(gradients, in_parts, strict=True):
            assert whole.keys() <= summed.keys()  # the streamed form keeps none of its layers
            for name, gradient in whole.items():
                torch.testing.assert_close(summed[name], gradient, rtol=1e-7, atol=1e-10)
        for name, weight in weights.items():
            torch.testing.assert_close(weights_in_parts[name], weight, rtol=1e-7, atol=1e-8)
