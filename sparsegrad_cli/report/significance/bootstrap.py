"""How far scores of runs on the same examples would differ on other examples and with other seeds.

Examples are resampled, the same ones for all runs. Seeds are too few for that: where they matter most, three
seeds drawn with replacement call a fifth of the comparisons of equal methods significant. So the mean over
seeds of the paired differences varies as Student's t says, by their own spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .weighted_metrics import Metric

AT_ONCE = 2_000_000  # weights in memory
ZERO = 1e-12  # differences below are rounding


@dataclass(frozen=True)
class Scores:
    """Scores of M runs."""

    observed: np.ndarray  # M
    resampled: np.ndarray  # resamples x M
    examples: int


@dataclass(frozen=True)
class Difference:
    """Of two methods, a mean over their common seeds."""

    observed: float
    resampled: np.ndarray  # resamples

    def interval(self, level: float) -> tuple[float, float]:
        """The middle `1 - level` of the resampled differences."""
        low, high = np.quantile(self.resampled, [level / 2, 1 - level / 2])
        return float(low), float(high)

    def p(self) -> float:
        """Two-sided: the level at which the interval would just reach zero."""
        below, above = (self.resampled <= ZERO).sum(), (self.resampled >= -ZERO).sum()
        return float(min(1.0, 2 * (min(below, above) + 1) / (len(self.resampled) + 1)))


def resample_scores(
    metric: Metric, labels: np.ndarray, predictions: np.ndarray, resamples: int, rng: np.random.Generator
) -> Scores:
    """Scores on the examples, and on samples of them drawn with replacement.

    Args:
        labels: of the examples, `n`.
        predictions: of M runs, `n x M`.
    """
    # examples on which label and all predictions agree are drawn together: often few kinds of them
    kinds, counts = np.unique(np.column_stack([labels, predictions]), axis=0, return_counts=True)
    rows = max(1, AT_ONCE // len(kinds))
    parts = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        weights = rng.multinomial(len(labels), counts / len(labels), size=size).astype(float)
        parts.append(metric(weights, kinds[:, 0], kinds[:, 1:]))
    observed = metric(counts[None].astype(float), kinds[:, 0], kinds[:, 1:])[0]
    return Scores(observed, np.concatenate(parts), len(labels))


def paired_difference(
    scores: Scores, subject: Sequence[int], other: Sequence[int], rng: np.random.Generator
) -> Difference:
    """The mean difference of two methods over seeds.

    Args:
        subject, other: which of the runs are theirs, the same seeds in the same order.
    """
    by_seed = scores.observed[list(subject)] - scores.observed[list(other)]
    resampled = (scores.resampled[:, list(subject)] - scores.resampled[:, list(other)]).mean(1)
    seeds = len(by_seed)
    if seeds > 1:
        error = by_seed.std(ddof=1) / np.sqrt(seeds)
        resampled = resampled + error * rng.standard_t(seeds - 1, size=len(resampled))
    return Difference(float(by_seed.mean()), resampled)


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """Over tasks, each of which was resampled for itself."""
    return Difference(
        float(np.mean([each.observed for each in differences])),
        np.mean([each.resampled for each in differences], axis=0),
    )


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for being several, in the same order (Holm 1979)."""
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected
