"""Runs without padding: the same training and the same scores as padded ones, on fewer tokens."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, MPNetConfig

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.basis import training_batches
from sparsegrad_cli.training.checks import choose_padding
from sparsegrad_cli.training.run import adapt, load_model, run

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, RecordingWatch, changed, configs_of, plan_run, write_cola

VARIANTS = {
    "ft": {},
    "lora": {"rank": 4},
    "meprop": {"density": 0.05},
    "sparsegrad": {"density": 0.05, "calibration_steps": 2},
    "sparsegrad block": {"density": 0.05, "calibration_steps": 2, "mask": "block"},
    "sparsegrad of few directions": {"density": 0.05, "calibration_steps": 2, "basis_rank": 16},
}
STEPS = 20


@pytest.fixture(scope="module")
def choices(tmp_path_factory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert")),
        "task": "cola",
        "data": str(write_cola(folder / "glue")),
        "methods": ["ft"],
        "learning_rate": 1e-3,
        "batch_size": 8,
        "length": 24,
        "max_steps": STEPS,
    }


def losses(asked: Asked, results: Path) -> list[float]:
    """The loss of each step of a training without dropout."""
    planned = plan_run(results, RecordingWatch(), asked)
    loaded = load_model(planned.config, planned.inputs)
    for module in loaded.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    method = adapt(planned, loaded)
    optimizer = method.optimizer(planned.config.learning_rate)
    method.model.train()
    found = []
    for batch in islice(training_batches(planned.config, planned.inputs, torch.device("cpu"), 0), STEPS):
        loss = method.model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_losses_of_every_method_are_those_of_padded_batches(variant, choices, tmp_path):
    asked = changed(choices, methods=[variant.split()[0]], batch_size=4, **VARIANTS[variant])
    curves = [losses(changed(asked, padding=padding), tmp_path) for padding in ("longest", "none")]
    # rounding may let a top-k choose another of two entries that are nearly as large
    closeness = 1e-3 if variant == "sparsegrad" else 1e-4
    assert curves[1] == pytest.approx(curves[0], rel=closeness)
    assert curves[0][-1] != curves[0][0]


def test_a_run_without_padding_scores_and_is_another_run_on_real_tokens(choices, tmp_path):
    both = [plan_run(tmp_path, RecordingWatch(), changed(choices, padding=p)) for p in ("none", "longest")]
    real, padded = (run(planned) for planned in both)
    assert real.status == padded.status == "done", real.error
    assert real.id != padded.id
    lengths = [len(ids) for ids in both[0].inputs.train["input_ids"]]
    assert np.min(lengths) < real.tokens_per_step / 8 < padded.tokens_per_step / 8
    assert len(pd.read_parquet(both[0].folder.path / "predictions.parquet")) == 24


def test_no_padding_is_the_default_wherever_the_model_can(choices):
    assert configs_of(choices)[0].padding == "none"
    with torch.device("meta"):
        other = AutoModelForSequenceClassification.from_config(MPNetConfig(num_hidden_layers=1))
    assert choose_padding(other, "mpnet", None) == "longest"
    assert choose_padding(other, "mpnet", "max") == "max"
    with pytest.raises(InputError, match="--padding none: a mpnet model such as here pads its batches"):
        choose_padding(other, "here", "none")
