"""Metrics, and the loss, of many weighted samples at once, in numpy: those of `tasks.metrics`.

Shapes: weights `R x n` (how often each of R samples has each of n examples), labels `n`, predictions
`n x M` of M runs; scores `R x M`. What is not defined is 0, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InputError, unknown

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def find_metric(score_name: str, classes: int | None) -> Metric:
    """Returns the metric of a score such as `accuracy_m`; what follows the metric's name is the split's.

    Args:
        classes: how many the task has; asked for by F1 alone, which is of class 1 where there are two.

    Raises:
        InputError: no metric is called so.
    """
    name = metric_name(score_name)
    return _f1_of_class_1 if name == "f1" and classes == 2 else METRICS[name]


def metric_name(score_name: str) -> str:
    """Returns `accuracy` for `accuracy_m` or `accuracy-a`.

    Raises:
        InputError: no metric is called so.
    """
    for name in sorted(METRICS, key=len, reverse=True):
        if score_name.startswith(name):
            return name
    raise InputError(unknown("metric", score_name, METRICS))


def mean_metric(metrics: Sequence[Metric]) -> Metric:
    """Returns the plain mean of several."""
    return lambda weights, labels, predictions: np.mean(
        [metric(weights, labels, predictions) for metric in metrics], axis=0
    )


def _confusion(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """How often each class was said of each, `R x M x labels x predictions`; and the classes in order."""
    classes = np.union1d(labels, predictions)
    is_label, is_said = labels[:, None, None] == classes, predictions[:, :, None] == classes
    return np.tensordot(weights, (is_label[..., :, None] & is_said[..., None, :]).astype(float), 1)


def _accuracy(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return weights @ (predictions == labels[:, None]) / weights.sum(1, keepdims=True)


def _f1(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The plain mean over the classes that occur."""
    counts = _confusion(weights, labels, predictions)
    occurs = counts.sum(-1) + counts.sum(-2)
    both = 2 * np.diagonal(counts, axis1=-2, axis2=-1)
    return _over(both, occurs).sum(-1) / np.maximum((occurs > 0).sum(-1), 1)


def _f1_of_class_1(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    is_label, is_said = labels[:, None] == 1, predictions == 1
    return _over(2 * (weights @ (is_label & is_said)), weights @ is_label + weights @ is_said)


def _matthews(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Of any number of classes: the correlation of the indicators of label and prediction."""
    counts, size = _confusion(weights, labels, predictions), weights.sum(1, keepdims=True)
    of_label, said = counts.sum(-1), counts.sum(-2)
    shared = size * np.trace(counts, axis1=-2, axis2=-1) - (of_label * said).sum(-1)
    return _over(shared, np.sqrt((size**2 - (of_label**2).sum(-1)) * (size**2 - (said**2).sum(-1))))


def _pearson(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return _each_run(predictions, lambda run: _correlation(weights, labels, run))


def _spearman(weights: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    of_labels = _ranks(weights, labels)
    return _each_run(predictions, lambda run: _correlation(weights, of_labels, _ranks(weights, run)))


def _loss(weights: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The mean over tokens: labels are the numbers of tokens, predictions the mean losses over them."""
    counted = weights * tokens
    return _over(counted @ losses, counted.sum(1, keepdims=True))


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "loss": _loss,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}


def _each_run(predictions: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Predictions that are no numbers score 0."""
    scores = [score(np.nan_to_num(run)) * np.isfinite(run).all() for run in predictions.T]
    return np.stack(scores, axis=1)


def _correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's, of values `n` or, where they differ between samples, `R x n`; gives `R`."""
    size = weights.sum(1, keepdims=True)
    x = x - (weights * x).sum(1, keepdims=True) / size
    y = y - (weights * y).sum(1, keepdims=True) / size
    spreads = np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))
    return _over((weights * x * y).sum(1), spreads)


def _ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rank of each example in each sample, ties at their mean; `R x n`."""
    order = np.argsort(values, kind="stable")
    _, starts, place = np.unique(values[order], return_index=True, return_inverse=True)
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = counts.cumsum(1) - (counts - 1) / 2
    ranks = np.empty_like(weights, dtype=float)
    ranks[:, order] = middle[:, place]
    return ranks


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
