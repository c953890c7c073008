"""Scores: of a checkpoint while training, and of the trained model in the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import EvalPrediction, Trainer

from ..tasks.metrics import compute_metrics
from ..tasks.task import Task


def selection_scorer(task: Task) -> Callable[[EvalPrediction], dict[str, float]]:
    """For `Trainer(compute_metrics=...)`: metrics named as those of the first dev split are."""

    def score(prediction: EvalPrediction) -> dict[str, float]:
        _, predicted = _predicted(prediction.predictions, task)
        found = compute_metrics(task, predicted, prediction.label_ids)
        return {f"{name}{task.suffixes[0]}": value for name, value in found.items()}

    return score


def score_classes(
    trainer: Trainer, task: Task, name: str, suffix: str, rows: Dataset, indices: list[int]
) -> tuple[dict[str, float], pd.DataFrame]:
    """Metrics of the trainer's model on a split, and one row an example for paired tests."""
    output = trainer.predict(rows)
    logits, predicted = _predicted(output.predictions, task)
    found = compute_metrics(task, predicted, output.label_ids)
    examples = _examples(name, indices, logits, predicted)
    examples.insert(2, "label", output.label_ids)
    return {f"{metric}{suffix}": value for metric, value in found.items()}, examples


def predict_split(trainer: Trainer, task: Task, name: str, rows: Dataset, indices: list[int]) -> pd.DataFrame:
    """What the trainer's model says of a split without labels, one row an example."""
    return _examples(name, indices, *_predicted(trainer.predict(rows).predictions, task))


def _examples(split: str, indices: list[int], logits: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "split": split,
            "idx": indices,
            "prediction": predicted,
            "logits": list(logits.astype(np.float32)),
        }
    )


def _predicted(output: np.ndarray | tuple[np.ndarray, ...], task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Logits (examples x outputs) and predictions (examples,)."""
    logits = output[0] if isinstance(output, tuple) else output
    return logits, logits[:, 0] if task.is_regression else logits.argmax(1)
