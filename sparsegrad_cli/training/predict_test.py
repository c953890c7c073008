"""A run's predictions on its task's test splits: they decide no number, and can be made later."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import InputError, WorkError
from ..models.checkpoint import find_checkpoint
from ..models.load import float32_products, load_classifier, on_device
from ..models.unpadded import unpad
from ..store.folder import RunFolder
from ..store.io import write_atomically
from ..store.records import TEST_PREDICTIONS
from ..tasks.load import TaskData
from ..tasks.task import Task
from .encode import encode_pairs
from .objectives import predict_split
from .trainer import PlannedRun, RunTrainer, make_trainer

MODEL = "model"  # in a run's folder: the trained model
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}  # of logits, as a share of the largest


def write_test_predictions(trainer: RunTrainer, planned: PlannedRun, test: TaskData) -> None:
    """Writes `test_predictions.parquet` of the trainer's model; the file knows the hash of its data."""
    assert isinstance(test.task, Task)
    encoded = encode_pairs(test, planned.inputs.tokenizer, planned.config.length)
    planned.progress.phase("predict", sum(map(len, encoded.values())))
    predicted = []
    for name, rows in encoded.items():
        indices = test.splits[name]["idx"][:]
        predicted.append(predict_split(trainer, test.task, name, rows, indices))
        planned.progress.step(sum(map(len, predicted)))
    predictions = pd.concat(predicted, ignore_index=True)
    predictions.attrs["data"] = test.sha256
    write_atomically(planned.folder.path / TEST_PREDICTIONS, predictions.to_parquet)


def has_test_predictions(folder: RunFolder, test: TaskData) -> bool:
    """Whether the run has predictions of these very test splits."""
    path = folder.path / TEST_PREDICTIONS
    return path.exists() and pd.read_parquet(path, columns=["idx"]).attrs.get("data") == test.sha256


def check_model_kept(folder: RunFolder, test: TaskData) -> None:
    """Refuses a run that was finished without test predictions and without its model.

    Raises:
        InputError: it is such a run.
    """
    if folder.is_done() and not has_test_predictions(folder, test) and not (folder.path / MODEL).is_dir():
        raise InputError(
            f"--predict-test: {folder.path} is finished and its model was not kept: delete that folder, or "
            "give another --output, and the run is done again"
        )


def predict_again(planned: PlannedRun, test: TaskData) -> None:
    """Writes the test predictions of a finished run that has none, by the model that it saved.

    Raises:
        InputError: no model was saved, or it cannot be read.
        WorkError: the model does not make the run's dev predictions; or another process is at it.
    """
    folder, inputs = planned.folder, planned.inputs
    if has_test_predictions(folder, test):
        return
    check_model_kept(folder, test)
    task = inputs.data.task
    assert isinstance(task, Task)
    num_labels = 1 if task.labels is None else len(task.labels)
    with folder.lock(), float32_products(planned.config.precision):
        loaded = load_classifier(find_checkpoint(str(folder.path / MODEL)), num_labels, task.is_regression)
        if planned.config.padding == "none":
            unpad(loaded.model)
        trainer = make_trainer(on_device(loaded.model, planned.config.device), None, planned)
        trainer.compute_metrics = None
        again = [
            inputs.objective.score_split(trainer, split.name, split.suffix, split.rows, split.indices)[1]
            for split in inputs.reported
        ]
        _check_same(planned, pd.concat(again))
        write_test_predictions(trainer, planned, test)
        folder.drop_checkpoints()  # the trainer made their folder


def _check_same(planned: PlannedRun, again: pd.DataFrame) -> None:
    path = planned.folder.path / "predictions.parquet"
    if not path.exists():
        raise WorkError(f"{path} is missing, so nothing tells whether model/ is the run's own")
    before, now = (np.stack(frame["logits"]) for frame in (pd.read_parquet(path), again))
    allowed = TOLERANCE[planned.config.precision] * np.abs(before).max()
    if before.shape != now.shape or not np.abs(before - now).max() <= allowed:
        raise WorkError(
            f"{planned.folder.path / MODEL} does not make the dev predictions in {path}: one of the two was "
            "changed; delete the run's folder to do it again"
        )
