"""A run whose numbers are no longer finite is diverged, however short it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparsegrad_cli.store.folder import RUNS
from sparsegrad_cli.store.records import Result
from sparsegrad_cli.training.run import run
from sparsegrad_cli.training.trainer import PlannedRun, RunTrainer

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, RecordingWatch, changed, plan_run, write_cola

CHAT = {
    "task": "oasst1",
    "methods": ["ft"],
    "max_steps": 4,
    "length": 32,
    "batch_size": 4,
    "max_train_examples": 16,
}


@pytest.fixture(scope="module")
def cola(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert", layers=1)),
        "task": "cola",
        "data": str(write_cola(folder / "glue")),
        "methods": ["ft"],
        "batch_size": 8,
        "max_steps": 8,
        "length": 16,
        "learning_rate": 1e-4,
    }


def check_diverged(planned: PlannedRun, result: Result) -> None:
    assert (result.status, result.score, result.metrics) == ("diverged", None, {})
    assert "finite" in result.error or "the loss is nan" in result.error
    assert RUNS.folder(planned.results, planned.config).result() == result


def test_a_classifier_that_diverges_before_the_first_logged_loss(cola, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), changed(cola, learning_rate=1e30), keep_model=False)
    check_diverged(planned, run(planned))


def test_a_language_model_that_diverges_before_the_first_logged_loss(conversations, tmp_path):
    model = str(tiny_checkpoint(tmp_path / "model", "llama"))
    asked = CHAT | {"model": model, "data": str(conversations), "learning_rate": 1e30}
    planned = plan_run(tmp_path, RecordingWatch(), asked, keep_model=False)
    check_diverged(planned, run(planned))


def test_a_language_model_whose_start_is_not_finite(conversations, tmp_path):
    model = tiny_checkpoint(tmp_path / "model", "llama")
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][:] = torch.nan
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    watch = RecordingWatch()
    planned = plan_run(tmp_path, watch, CHAT | {"model": str(model), "data": str(conversations)})
    check_diverged(planned, run(planned))
    assert watch.phases == ["score"]


def test_a_run_that_diverges_after_a_good_evaluation(cola, tmp_path, monkeypatch: pytest.MonkeyPatch):
    step = RunTrainer.training_step

    def broken_after_six(self, *args, **kwargs):
        return step(self, *args, **kwargs) * (torch.nan if self.state.global_step >= 6 else 1.0)

    monkeypatch.setattr(RunTrainer, "training_step", broken_after_six)
    watch = RecordingWatch()
    planned = plan_run(tmp_path, watch, changed(cola, eval_steps=5), keep_model=False)
    check_diverged(planned, run(planned))
    assert watch.scores


def test_a_logged_loss_that_is_not_finite_ends_the_run_there(cola, tmp_path: Path):
    asked = changed(cola, learning_rate=1e30, max_steps=30, eval_steps=30)
    planned = plan_run(tmp_path, RecordingWatch(), asked, keep_model=False)
    result = run(planned)
    check_diverged(planned, result)
    assert "step 10" in result.error
    assert "NaN" not in (planned.folder.path / "metrics.jsonl").read_text()
