"""Metrics against scikit-learn and scipy, and where these are not defined."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.metrics import METRICS, compute_metrics
from sparsegrad_cli.tasks.task import CLASSIFICATION_METRICS, REGRESSION_METRICS, Task

BINARY = Task(name="two", text="a", labels=("no", "yes"), metrics=CLASSIFICATION_METRICS)
THREE = Task(name="three", text="a", labels=("x", "y", "z"), metrics=CLASSIFICATION_METRICS)
SCALE = Task(name="scale", text="a", metrics=REGRESSION_METRICS)


def pairs(values: st.SearchStrategy) -> st.SearchStrategy[np.ndarray]:
    """Predictions and labels: shape (2, examples)."""
    return st.lists(st.tuples(values, values), min_size=2, max_size=40).map(lambda rows: np.array(rows).T)


@settings(max_examples=20)
@given(pairs(st.integers(0, 1)))
def test_two_classes_are_scored_as_scikit_learn_scores_them(drawn):
    predictions, labels = drawn
    scores = compute_metrics(BINARY, predictions, labels)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    assert scores["f1"] == pytest.approx(f1_score(labels, predictions, zero_division=0))
    with warnings.catch_warnings(action="ignore"):
        expected = matthews_corrcoef(labels, predictions)
    assert scores["matthews_correlation"] == pytest.approx(expected)


@settings(max_examples=20)
@given(pairs(st.integers(0, 2)))
def test_f1_of_more_classes_is_the_mean_over_classes(drawn):
    predictions, labels = drawn
    expected = f1_score(labels, predictions, average="macro", zero_division=0)
    assert compute_metrics(THREE, predictions, labels)["f1"] == pytest.approx(expected)


@settings(max_examples=20)
@given(pairs(st.floats(0, 5, width=32)))
def test_correlations_are_those_of_scipy_and_never_nan(drawn):
    predictions, labels = drawn.astype(np.float32)
    scores = compute_metrics(SCALE, predictions, labels)
    assert all(-1 - 1e-6 <= score <= 1 + 1e-6 for score in scores.values())
    assume(np.ptp(predictions) > 1e-3)
    assume(np.ptp(labels) > 1e-3)
    wide = drawn.astype(np.float64)
    assert scores["pearson"] == pytest.approx(stats.pearsonr(*wide).statistic, abs=1e-6)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(*wide).statistic, abs=1e-6)


@pytest.mark.parametrize("predicted", [0, 1])
def test_a_collapsed_classifier_has_no_correlation_and_no_warning(predicted, recwarn):
    scores = compute_metrics(get_task("cola"), np.full(4, predicted), np.array([0, 1, 1, 1]))
    assert scores == {"matthews_correlation": 0.0}
    assert compute_metrics(get_task("cola"), np.ones(3, int), np.ones(3, int)) == {
        "matthews_correlation": 0.0
    }
    assert not recwarn


@pytest.mark.parametrize(
    "predictions",
    [[2.5, 2.5, 2.5], [math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0], [1.0, 1.0, 1.0 + 1e-16]],
    ids=["constant", "nan", "infinite", "constant to rounding"],
)
def test_predictions_that_say_nothing_score_zero_without_a_warning(predictions, recwarn):
    scores = compute_metrics(get_task("stsb"), np.array(predictions), np.array([0.0, 2.0, 5.0]))
    assert scores == {"pearson": 0.0, "spearman": 0.0}
    assert not recwarn


def test_one_example_has_no_correlation():
    assert compute_metrics(SCALE, np.array([1.0]), np.array([2.0])) == {"pearson": 0.0, "spearman": 0.0}


def test_f1_without_a_predicted_or_true_positive_is_zero(recwarn):
    assert compute_metrics(get_task("mrpc"), np.zeros(3, int), np.zeros(3, int)) == {
        "accuracy": 1.0,
        "f1": 0.0,
    }
    assert not recwarn


@pytest.mark.parametrize(("predictions", "labels"), [([0, 1], [0]), ([], []), ([[0], [1]], [[0], [1]])])
def test_arrays_that_are_not_one_value_an_example_are_refused(predictions, labels):
    with pytest.raises(ValueError, match=r"are not \(examples,\)"):
        compute_metrics(BINARY, np.array(predictions, int), np.array(labels, int))


def test_every_metric_that_a_task_may_name_is_there():
    assert set(METRICS) == {*CLASSIFICATION_METRICS, *REGRESSION_METRICS}
