"""Test predictions: they cost a run nothing but their time, and can be had later from the saved model."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import load_data, load_test
from sparsegrad_cli.training.run import run
from sparsegrad_cli.training.trainer import PlannedRun

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, PowerCutError, RecordingWatch, changed, plan_run, write_cola
from ..tasks.glue_files import rows_of, write_jsonl_folder, write_test_splits


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert", layers=1)),
        "task": "cola",
        "data": str(
            write_test_splits(write_cola(folder / "glue"), "cola", 70)
        ),  # more than a batch of evaluation
        "methods": ["sparsegrad"],
        "learning_rate": 3e-3,
        "batch_size": 8,
        "epochs": 2,
        "density": 0.05,
        "calibration_steps": 3,
        "length": 24,
    }


def plan_with(
    results: Path, choices: Asked, predict: bool = True, watch: RecordingWatch | None = None, **how: float
) -> PlannedRun:
    planned = plan_run(results, watch or RecordingWatch(), choices, **how)
    test = (
        load_test(load_data(get_task(choices["task"]), choices["data"]), choices["data"]) if predict else None
    )
    return dataclasses.replace(planned, test=test)


def predictions(planned: PlannedRun) -> pd.DataFrame:
    return pd.read_parquet(planned.folder.path / "test_predictions.parquet")


@pytest.mark.parametrize("method", ["lora", "sparsegrad"])
def test_they_change_no_number_of_the_run(method, choices, tmp_path):
    sparse = method in ("meprop", "sparsegrad")
    steps = choices["calibration_steps"] if method == "sparsegrad" else None
    chosen = changed(choices, methods=[method], density=0.05 if sparse else None, calibration_steps=steps)
    both = [plan_with(tmp_path / str(predict), chosen, predict) for predict in (True, False)]
    first, second = (run(planned).model_dump() for planned in both)
    for cost in ("train_seconds", "steps_per_second", "steps_per_second_quartiles", "peak_memory_bytes"):
        del first[cost], second[cost]
    assert first == second
    predicted = [(planned.folder.path / "test_predictions.parquet").exists() for planned in both]
    assert predicted == [True, False]
    one, two = (load_file(planned.folder.path / "model" / "model.safetensors") for planned in both)
    assert all(torch.equal(one[name], two[name]) for name in one)
    one, two = (pd.read_parquet(planned.folder.path / "predictions.parquet") for planned in both)
    np.testing.assert_array_equal(np.stack(one["logits"]), np.stack(two["logits"]))


def test_they_are_what_the_saved_model_says_of_each_row(choices, tmp_path):
    planned = plan_with(tmp_path, choices)
    run(planned)
    found = predictions(planned)
    assert list(found.columns) == ["split", "idx", "prediction", "logits"]
    assert set(found["split"]) == {"test"}
    assert list(found["idx"]) == list(range(70))
    model = AutoModelForSequenceClassification.from_pretrained(planned.folder.path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(planned.folder.path / "model")
    texts = planned.test.splits["test"]["sentence"][:]
    with torch.no_grad():
        logits = model(
            **tokenizer(texts, truncation=True, max_length=24, padding=True, return_tensors="pt")
        ).logits.numpy()
    np.testing.assert_allclose(logits, np.stack(found["logits"]), rtol=0, atol=1e-5)
    assert (logits.argmax(1) == found["prediction"]).all()


def test_mnli_answers_three_splits_and_stsb_a_number(choices, tmp_path):
    for task, splits in (("mnli", ["test_matched", "test_mismatched", "ax"]), ("stsb", ["test"])):
        folder = write_jsonl_folder(tmp_path / "glue", get_task(task), rows_of(get_task(task), 16))
        chosen = changed(choices, task=task, data=str(write_test_splits(folder, task)))
        planned = plan_with(tmp_path, chosen)
        assert run(planned).status == "done"
        found = predictions(planned)
        assert list(found["split"].unique()) == splits
        assert (found.groupby("split")["idx"].apply(list).map(lambda idx: idx == list(range(6)))).all()
        kind = "f" if task == "stsb" else "i"
        assert found["prediction"].dtype.kind == kind


def test_a_finished_run_is_not_trained_again_for_them(choices, tmp_path):
    whole = plan_with(tmp_path / "whole", choices)
    run(whole)
    result = run(plan_with(tmp_path / "later", choices, predict=False))
    later = plan_with(tmp_path / "later", choices)
    assert run(later) == result
    assert later.progress.phases == ["predict"]
    found, expected = predictions(later), predictions(whole)
    np.testing.assert_allclose(np.stack(found["logits"]), np.stack(expected["logits"]), rtol=0, atol=1e-5)
    assert found.drop(columns="logits").equals(expected.drop(columns="logits"))
    assert not later.folder.checkpoints.exists()

    again = plan_with(tmp_path / "later", choices)
    run(again)
    assert again.progress.phases == []


def test_other_test_data_are_predicted_anew(choices, tmp_path):
    data = tmp_path / "glue"
    chosen = changed(choices, data=str(shutil.copytree(choices["data"], data)))
    run(plan_with(tmp_path, chosen))
    write_test_splits(data, "cola", 80)
    planned = plan_with(tmp_path, chosen)
    run(planned)
    assert len(predictions(planned)) == 80
    assert planned.progress.phases == ["predict"]


def test_a_finished_run_without_its_model_says_what_to_do(choices, tmp_path):
    run(plan_with(tmp_path, choices, predict=False, keep_model=False))
    planned = plan_with(tmp_path, choices)
    with pytest.raises(
        InputError, match="its model was not kept: delete that folder, or give another --output"
    ):
        run(planned)
    assert not (planned.folder.path / "test_predictions.parquet").exists()


def test_a_model_that_is_not_the_runs_own_predicts_nothing(choices, tmp_path):
    planned = plan_with(tmp_path, choices)
    run(dataclasses.replace(planned, test=None))
    path = planned.folder.path / "model" / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "classifier.bias": weights["classifier.bias"] + 1}, path, {"format": "pt"})
    with pytest.raises(WorkError, match="does not make the dev predictions"):
        run(planned)
    assert not (planned.folder.path / "test_predictions.parquet").exists()
    (planned.folder.path / "predictions.parquet").unlink()
    with pytest.raises(WorkError, match="missing, so nothing tells whether"):
        run(planned)


def test_a_run_killed_while_it_predicts_goes_on_and_ends_the_same(choices, tmp_path):
    whole = plan_with(tmp_path / "whole", choices)
    expected = run(whole)
    often = {"checkpoint_seconds": 0.0}
    with pytest.raises(PowerCutError):
        run(plan_with(tmp_path / "cut", choices, watch=RecordingWatch(("predict", 70)), **often))
    planned = plan_with(tmp_path / "cut", choices, **often)
    assert planned.folder.result() is None
    result = run(planned)
    assert (result.metrics, result.best_step) == (expected.metrics, expected.best_step)
    np.testing.assert_array_equal(
        np.stack(predictions(planned)["logits"]), np.stack(predictions(whole)["logits"])
    )


def test_predictions_of_an_earlier_attempt_do_not_outlive_it(choices, tmp_path):
    often = {"checkpoint_seconds": 0.0}
    planned = plan_with(tmp_path, choices, **often)
    planned.folder.path.mkdir(parents=True)
    (planned.folder.path / "test_predictions.parquet").write_bytes(b"of another attempt")
    run(dataclasses.replace(planned, test=None))
    assert not (planned.folder.path / "test_predictions.parquet").exists()
