"""The statistics: right about chance, and able to see what is there."""

from __future__ import annotations

import numpy as np
import pytest

from sparsegrad_cli.report.significance.bootstrap import (
    holm,
    mean_difference,
    paired_difference,
    resample_scores,
)
from sparsegrad_cli.report.significance.weighted_metrics import find_metric

ACCURACY = find_metric("accuracy", 2)


def p_of(seeds: int, examples: int, seed_spread: float, shift: float, rng: np.random.Generator) -> float:
    """Two methods of equal seeds on equal examples, the first better by `shift` (in logits)."""
    easiness = rng.normal(1, 1.5, size=examples)

    def right(better: float) -> np.ndarray:
        quality = better + rng.normal(0, seed_spread, size=seeds)
        return easiness[:, None] + quality + rng.normal(0, 0.8, size=(examples, seeds)) > 0

    both = np.column_stack([right(shift), right(0.0)]).astype(float)
    scores = resample_scores(ACCURACY, np.ones(examples), both, 400, rng)
    return paired_difference(scores, range(seeds), range(seeds, 2 * seeds), rng).p()


@pytest.mark.parametrize(
    ("seeds", "examples", "seed_spread"), [(1, 300, 0.0), (3, 300, 0.0), (3, 2000, 0.2), (5, 1000, 0.1)]
)
def test_equal_methods_come_out_as_different_no_more_often_than_the_level_says(seeds, examples, seed_spread):
    rng = np.random.default_rng(0)
    found = np.mean([p_of(seeds, examples, seed_spread, 0.0, rng) < 0.05 for _ in range(200)])
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_a_clear_difference_is_found():
    rng = np.random.default_rng(0)
    assert max(p_of(3, 1000, 0.05, 1.5, rng) for _ in range(10)) < 0.05


def test_equal_predictions_differ_by_nothing():
    rng = np.random.default_rng(0)
    run = rng.integers(2, size=(50, 2)).astype(float)
    scores = resample_scores(ACCURACY, np.ones(50), np.column_stack([run, run]), 100, rng)
    found = paired_difference(scores, [0, 1], [2, 3], rng)
    assert (found.observed, found.p(), found.interval(0.05)) == (0.0, 1.0, (0.0, 0.0))


def test_the_interval_of_one_seed_is_that_of_the_examples():
    rng = np.random.default_rng(0)
    right = np.column_stack([np.arange(400) < 300, np.arange(400) < 260]).astype(float)  # 40 of 400 differ
    found = paired_difference(resample_scores(ACCURACY, np.ones(400), right, 5000, rng), [0], [1], rng)
    low, high = found.interval(0.05)
    error = np.sqrt(0.1 * 0.9 / 400)
    assert found.observed == pytest.approx(0.1)
    assert (low, high) == pytest.approx((0.1 - 1.96 * error, 0.1 + 1.96 * error), abs=0.003)


def test_an_average_is_over_tasks():
    rng = np.random.default_rng(0)
    parts = []
    for shift in (0, 10):
        right = np.column_stack([np.arange(100) < 60 + shift, np.arange(100) < 60]).astype(float)
        parts.append(
            paired_difference(resample_scores(ACCURACY, np.ones(100), right, 50, rng), [0], [1], rng)
        )
    mean = mean_difference(parts)
    assert mean.observed == pytest.approx(0.05)
    assert mean.resampled == pytest.approx((parts[0].resampled + parts[1].resampled) / 2)


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
