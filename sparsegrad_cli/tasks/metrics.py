"""The metrics of the text tasks, by scikit-learn and scipy.

Where a statistic is not defined (one class only, constant or non-finite predictions) the score is 0.0,
that of predictions which know nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from .task import Task

Metric = Callable[[np.ndarray, np.ndarray, Task], float]  # labels and predictions, (examples,); the task


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
    return {name: float(METRICS[name](labels, predictions, task)) for name in task.metrics}


def _accuracy(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    return accuracy_score(labels, predictions)


def _f1(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    """Of class 1 where there are two classes, else the plain mean over the classes that occur."""
    classes = [1] if len(task.labels or ()) == 2 else None
    return f1_score(labels, predictions, labels=classes, average="macro", zero_division=0)


def _matthews(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    if len(np.unique(labels)) < 2 or len(np.unique(predictions)) < 2:
        return 0.0
    return matthews_corrcoef(labels, predictions)


def _correlation(statistic: Callable) -> Metric:
    def correlate(labels: np.ndarray, predictions: np.ndarray, task: Task) -> float:
        labels, predictions = labels.astype(np.float64), predictions.astype(np.float64)
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
