"""The statistics: right about chance, and able to see what is there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.report.significance import (
    detectable_difference,
    holm,
    mean_difference,
    paired_difference,
    resample_scores,
    stochastic_order,
)
from sparsegrad_cli.report.weighted_metrics import find_metric

ACCURACY = find_metric("accuracy", 2)


def runs(one: np.ndarray, other: np.ndarray) -> pd.DataFrame:
    """Predictions of two rows, examples x seeds each."""
    named = {
        (row, seed): column
        for row, of in (("one", one), ("other", other))
        for seed, column in enumerate(of.T)
    }
    return pd.DataFrame(named, dtype=float)


def p_of(seeds: int, examples: int, seed_spread: float, shift: float, rng: np.random.Generator) -> float:
    """Two methods of equal seeds on equal examples, the first better by `shift` (in logits)."""
    easiness = rng.normal(1, 1.5, size=examples)

    def right(better: float) -> np.ndarray:
        quality = better + rng.normal(0, seed_spread, size=seeds)
        return easiness[:, None] + quality + rng.normal(0, 0.8, size=(examples, seeds)) > 0

    scores = resample_scores(ACCURACY, np.ones(examples), runs(right(shift), right(0.0)), 400, rng)
    return paired_difference(scores, "one", "other", rng).p()


@pytest.mark.parametrize(("seeds", "examples", "seed_spread"), [(1, 300, 0.0), (3, 1000, 0.2)])
def test_equal_methods_come_out_as_different_no_more_often_than_the_level_says(seeds, examples, seed_spread):
    rng = np.random.default_rng(0)
    found = np.mean([p_of(seeds, examples, seed_spread, 0.0, rng) < 0.05 for _ in range(100)])
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)


def test_a_clear_difference_is_found():
    rng = np.random.default_rng(0)
    assert max(p_of(3, 1000, 0.05, 1.5, rng) for _ in range(10)) < 0.05


def test_equal_predictions_differ_by_nothing():
    rng = np.random.default_rng(0)
    run = rng.integers(2, size=(50, 2)).astype(float)
    scores = resample_scores(ACCURACY, np.ones(50), runs(run, run), 100, rng)
    found = paired_difference(scores, "one", "other", rng)
    assert (found.mean, found.p(), found.interval(0.05)) == (0.0, 1.0, (0.0, 0.0))


def test_the_interval_of_one_seed_is_that_of_the_examples():
    rng = np.random.default_rng(0)
    right = runs(np.arange(400)[:, None] < 300, np.arange(400)[:, None] < 260)  # 40 of 400 differ
    scores = resample_scores(ACCURACY, np.ones(400), right, 5000, rng)
    found = paired_difference(scores, "one", "other", rng)
    low, high = found.interval(0.05)
    error = np.sqrt(0.1 * 0.9 / 400)
    assert found.mean == pytest.approx(0.1)
    assert (low, high) == pytest.approx((0.1 - 1.96 * error, 0.1 + 1.96 * error), abs=0.003)


def test_an_average_is_over_tasks():
    rng = np.random.default_rng(0)
    parts = []
    for shift in (0, 10):
        right = runs(np.arange(100)[:, None] < 60 + shift, np.arange(100)[:, None] < 60)
        scores = resample_scores(ACCURACY, np.ones(100), right, 50, rng)
        parts.append(paired_difference(scores, "one", "other", rng))
    mean = mean_difference(parts)
    assert mean.mean == pytest.approx(0.05)
    assert mean.resampled == pytest.approx((parts[0].resampled + parts[1].resampled) / 2)


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(p):
    corrected = holm(p)
    assert all(low <= high <= 1 for low, high in zip(p, corrected, strict=True))
    assert [c for _, c in sorted(zip(p, corrected, strict=True))] == sorted(corrected)


def test_examples_of_one_tree_are_drawn_together():
    rng = np.random.default_rng(0)
    trees = np.repeat(np.arange(10), 8)
    right = runs(trees[:, None] < 6, trees[:, None] < 5)  # one tree of ten differs, whole
    widths = []
    for of in (None, trees):
        scores = resample_scores(ACCURACY, np.ones(80), right, 2000, rng, of)
        low, high = paired_difference(scores, "one", "other", rng).interval(0.05)
        widths.append(high - low)
        assert list(scores.observed) == pytest.approx([0.6, 0.5])
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(("seeds", "size"), [(3, 3.26), (5, 1.68), (8, 1.16), (10, 1.00), (20, 0.66)])
def test_what_a_number_of_seeds_can_show_is_what_simulation_says(seeds, size):
    assert detectable_difference(1.0, seeds) == pytest.approx(size, abs=0.015)
    assert detectable_difference(3.0, seeds) == pytest.approx(3 * size, abs=0.05)


def test_stochastic_order_of_clear_and_of_equal_methods():
    rng = np.random.default_rng(1)
    low, high = rng.normal(0, 1, 10), rng.normal(5, 1, 10)
    above, below = stochastic_order(high, low), stochastic_order(low, high)
    assert (above, below) == (pytest.approx(0.0, abs=0.05), pytest.approx(1.0, abs=0.05))
    assert stochastic_order(low, low) > 0.4
    assert stochastic_order(low[:4], high) is None
