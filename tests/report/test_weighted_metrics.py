"""Metrics of weighted samples against those that score runs."""

from __future__ import annotations

import numpy as np
import pytest

from sparsegrad_cli.report.weighted_metrics import find_metric
from sparsegrad_cli.tasks.metrics import METRICS
from sparsegrad_cli.tasks.task import Task


def task(classes: int) -> Task:
    labels = [str(k) for k in range(classes)] if classes else None
    return Task(name="t", text="sentence", labels=labels, metrics="accuracy" if classes else "pearson")


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("accuracy", 2),
        ("accuracy", 3),
        ("f1", 2),
        ("f1", 4),
        ("matthews_correlation", 2),
        ("matthews_correlation", 3),
        ("pearson", 0),
        ("spearman", 0),
    ],
)
def test_each_sample_scores_as_its_examples_written_out(name, classes):
    rng = np.random.default_rng(3)
    size, runs = 40, 3
    if classes:
        labels = rng.integers(classes, size=size)
        said = np.where(
            rng.random((size, runs)) < 0.6, labels[:, None], rng.integers(classes, size=(size, runs))
        )
        said[:, 2] = 1  # a run that gives every example the same label
    else:
        labels = rng.integers(11, size=size) / 2  # ties, as in STS-B
        said = labels[:, None] + rng.normal(size=(size, runs)).round(1)
        said[:, 2] = 1.5
    weights = rng.multinomial(size, np.full(size, 1 / size), size=25)
    weights[0] = 0
    weights[0, 0] = size  # one example alone: nothing is defined
    found = find_metric(f"{name}_m", classes)(weights.astype(float), labels.astype(float), said.astype(float))
    assert found.shape == (25, runs)
    for sample, scores in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(size), sample)
        wanted = [METRICS[name](labels[rows], said[rows, run], task(classes)) for run in range(runs)]
        assert scores == pytest.approx(wanted, abs=1e-9)


def test_predictions_that_are_no_numbers_score_nothing():
    labels, said = np.arange(4.0), np.array([[0.0, 0.0], [1.0, np.nan], [2.0, 2.0], [3.0, 3.0]])
    assert find_metric("pearson", None)(np.ones((1, 4)), labels, said) == pytest.approx(
        np.array([[1.0, 0.0]])
    )


@pytest.mark.parametrize("name", ["accuracy-a", "f1.b", "loss_x", "matthews_correlationZ"])
def test_a_task_may_have_suffixes_of_its_own(name):
    plain = next(metric for metric in ("accuracy", "f1", "loss", "matthews_correlation") if metric in name)
    assert find_metric(name, 3) is find_metric(plain, 3)
