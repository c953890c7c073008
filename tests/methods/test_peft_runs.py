"""Methods of PEFT through the real runner: taken up again after a kill, and foreseen by --dry-run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import BertConfig

from sparsegrad_cli.estimate.memory import simulate_step
from sparsegrad_cli.methods.peft_table import ENTRIES
from sparsegrad_cli.models.random import random_classifier
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.training.objectives import objective_of
from sparsegrad_cli.training.run import run

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, PowerCutError, RecordingWatch, plan_run, write_cola
from ..report.runs import CONFIG

SHAPE = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return {
        "model": str(tiny_checkpoint(tmp_path / "model", "bert", layers=1)),
        "data": str(write_cola(tmp_path / "glue")),
        "task": "cola",
        "epochs": 2,
        "batch_size": 8,
        "length": 24,
        "learning_rate": 1e-3,
    }


@pytest.mark.parametrize("method", ["adalora", "loraga"])
def test_a_killed_run_taken_up_again_ends_as_one_that_was_not(method, asked, tmp_path):
    chosen = {**asked, "methods": [method]}
    if method == "loraga":
        chosen["calibration_steps"] = 2
    ends = []
    for place in ("whole", "cut"):
        if place == "cut":
            often = {"checkpoint_seconds": 0.0, "keep_model": False}
            with pytest.raises(PowerCutError):
                run(plan_run(tmp_path / place, RecordingWatch(("train", 11)), chosen, **often))
        planned = plan_run(tmp_path / place, RecordingWatch(), chosen, keep_model=False)
        assert run(planned).status == "done"
        predictions = pd.read_parquet(planned.folder.path / "predictions.parquet")
        ends.append(np.stack(predictions["logits"]))
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize("method", [*(entry.name for entry in ENTRIES), "bitfit", "layernorm", "probe"])
def test_what_a_step_holds_is_foreseen(method):
    model = random_classifier(SHAPE).model.to("meta")
    config = CONFIG.model_copy(update={"method": method, "rank": 4, "batch_size": 4, "length": 16})
    found = simulate_step(model, objective_of(get_task("cola")), config, tokens=16)
    assert found.moments > 0
    assert found.weights < found.peak
