"""The metrics of the tasks, as an `evaluate.Metric` that needs neither the hub nor a cache.

Where a statistic is not defined (one class only, constant or non-finite predictions) the score is 0.0,
that of predictions which know nothing.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from .task import Task

Metric = Callable[[np.ndarray, np.ndarray, Task], float]  # labels and predictions, (examples,); the task


def _accuracy(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    return accuracy_score(labels, predictions)


def _f1(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    """Of class 1 where there are two classes, else the plain mean over the classes that occur."""
    classes = [1] if len(task.labels) == 2 else None
    return f1_score(labels, predictions, labels=classes, average="macro", zero_division=0)


def _matthews(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    if len(np.unique(labels)) < 2 or len(np.unique(predictions)) < 2:
        return 0.0
    return matthews_corrcoef(labels, predictions)


def _correlation(statistic: Callable[[np.ndarray, np.ndarray], object]) -> Metric:
    def correlate(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
        if len(labels) < 2 or not np.isfinite(predictions).all():
            return 0.0
        with warnings.catch_warnings(action="ignore", category=stats.DegenerateDataWarning):
            value = float(statistic(labels, predictions).statistic)
        return value if math.isfinite(value) else 0.0

    return correlate


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
}


class TaskMetric(evaluate.Metric):
    """All the metrics of one task."""

    def __init__(self, task: Task, cache_dir: str) -> None:
        self.task = task
        super().__init__(keep_in_memory=True, cache_dir=cache_dir)

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64" if self.task.is_regression else "int64")
        return evaluate.MetricInfo(
            description=f"The metrics of {self.task.name}: {', '.join(self.task.metrics)}.",
            citation="",
            inputs_description="predictions and references: class ids, or scores for regression",
            features=datasets.Features({"predictions": value, "references": value}),
            format="numpy",
        )

    def _compute(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {name: float(METRICS[name](references, predictions, self.task)) for name in self.task.metrics}


def compute_metrics(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Score predictions by every metric of the task.

    Args:
        task: says which metrics.
        predictions: class ids, or scores for regression; shape (examples,).
        labels: the same of the truth.

    Returns:
        Metric name -> value, in the task's order; never NaN.

    Raises:
        ValueError: the two differ in length, or there is no example.
    """
    if np.shape(predictions) != np.shape(labels) or np.ndim(labels) != 1 or not len(labels):
        raise ValueError(
            f"predictions {np.shape(predictions)} and labels {np.shape(labels)} are not (examples,)"
        )
    with tempfile.TemporaryDirectory() as folder:
        return TaskMetric(task, folder).compute(predictions=predictions, references=labels)
