"""How rows of a table differ, on each task and on the average, and what may be said of it.

Examples are resampled, the same ones for all runs; conversations by their trees. Seeds are too few for that:
where they matter most, three seeds drawn with replacement call a fifth of the comparisons of equal methods
significant. So the mean over seeds of the paired differences varies as Student's t says, by their own spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..store.records import LOSS
from .comparable import Row, TaskColumn
from .load import read_classes, read_predictions, records
from .table import Scale, counted
from .weighted_metrics import METRICS, Metric, find_metric, mean_metric, metric_name

AVERAGE = "average"
LEVEL = 0.05
RESAMPLES = 3000  # at least; more for many comparisons, whose smallest corrected p must be below the level
PER_COMPARISON = 100
SEED = 0
AT_ONCE = 2_000_000  # weights in memory
ZERO = 1e-12  # differences below are rounding
ASO_SEEDS = 5  # fewer say nothing about an order of distributions
# std of a GLUE score over 5 seeds, RoBERTa-base with LoRA; what a plan for more seeds is reckoned from
TYPICAL_STD = {
    **{"cola": 2.1, "mnli": 0.1, "mrpc": 0.5, "qnli": 1.1, "qqp": 0.2, "rte": 2.6, "sst2": 0.4, "stsb": 0.3}
}
FOOTNOTE = (
    "Differences are means over the seeds that both rows have, with their 95% interval: a paired "
    "bootstrap of the examples (the same for all rows; conversations by their trees), and between seeds "
    "Student's t over their paired differences. Significant: p < 0.05 after Holm's correction within a "
    "family that is fixed before looking, the baseline against each row on the average (or on the only "
    "task); the single tasks are a second family. Level: the 90% interval lies within the margin (two "
    "one-sided tests). ASO, of a task with 5 seeds or more: how far the first is from being stochastically "
    "better than the other (0: it is, above 0.5: rather the other). The average resamples each task for "
    "itself, with the mean of its metrics (of mnli, those of the matched split)."
)


@dataclass(frozen=True)
class Scores:
    """Scores of runs, each named by the label of its row and its seed."""

    observed: pd.Series  # runs
    resampled: pd.DataFrame  # resamples x runs


@dataclass(frozen=True)
class Difference:
    """Of two rows, a mean over their common seeds."""

    by_seed: pd.Series  # seeds
    resampled: np.ndarray  # resamples

    @property
    def mean(self) -> float:
        return float(self.by_seed.mean())

    def interval(self, level: float) -> tuple[float, float]:
        """Returns the middle `1 - level` of the resampled differences."""
        low, high = np.quantile(self.resampled, [level / 2, 1 - level / 2])
        return float(low), float(high)

    def p(self) -> float:
        """Returns the level at which the interval would just reach zero; two-sided."""
        below, above = (self.resampled <= ZERO).sum(), (self.resampled >= -ZERO).sum()
        return float(min(1.0, 2 * (min(below, above) + 1) / (len(self.resampled) + 1)))


@dataclass(frozen=True)
class Comparison:
    """Two rows of a table on one column, or on the average; differences are subject less other."""

    subject: str  # label of its row
    other: str
    task: str  # name of the column, or "average"
    difference: float  # of the main metric, as the metric gives it
    low: float  # 95% interval
    high: float
    low90: float
    high90: float
    p: float  # two-sided
    p_holm: float  # corrected within its family
    seeds: tuple[int, ...]  # that both rows have; of the average, on every task
    std: float | None  # of the seeds' differences; None of a single seed
    examples: int
    aso: float | None = None  # violation of stochastic order, see `stochastic_order`

    @property
    def verdict(self) -> str:
        """One of "one seed", "above", "below" and "open"; the only place that says what is significant."""
        if len(self.seeds) < 2:
            return "one seed"
        if self.p_holm < LEVEL:
            return "above" if self.difference > 0 else "below"
        return "open"

    def is_level(self, scale: Scale) -> bool:
        """Whether the two are equivalent within the scale's margin: two one-sided tests."""
        margin = scale.margin / scale.times
        return len(self.seeds) > 1 and -margin < self.low90 and self.high90 < margin

    def cell(self, scale: Scale) -> str:
        """Returns the difference with its interval, and a star where it is significant."""
        text = scale.number(self.difference, "+")
        if self.verdict == "one seed":
            return text
        star = "*" if self.verdict != "open" else ""
        return f"{text}{star} {scale.interval(self.low, self.high)}"

    def words(self, scale: Scale) -> str:
        """Returns what may be said of the difference, to follow the subject and "is"."""
        size = f"{scale.number(abs(self.difference))} {scale.unit}"
        interval = f"{scale.number(self.difference, '+')} {scale.interval(self.low, self.high)}"
        interval += "" if self.aso is None else f", ASO {self.aso:.2f}"
        side = "above" if self.difference > 0 else "below"
        if self.verdict == "one seed":
            is_nothing = not float(scale.number(self.difference))
            return f"equal to {self.other}" if is_nothing else f"{size} {side} {self.other}"
        if self.verdict != "open":
            better = (side == "above") != scale.less_is_better
            hint = f", {'better' if better else 'worse'}" if scale.less_is_better else ""
            return f"{size} {side} {self.other} ({interval}, significant{hint})"
        if self.is_level(scale):
            return f"level with {self.other} within {scale.margin_words} ({interval})"
        return f"not shown to differ from {self.other} ({interval})"


@dataclass(frozen=True)
class Significance:
    """The comparisons of one table."""

    comparisons: tuple[Comparison, ...] = ()
    resamples: int = 0
    left_out: tuple[str, ...] = ()  # runs that are in the table and in no comparison, and why
    fixed: str = ""  # label of the row that stands in every comparison
    is_subject: bool = False  # it is what the others are subtracted from

    def main(self, task: str) -> list[Comparison]:
        """Returns the first family: those on the average, or on the only task."""
        return [each for each in self.comparisons if each.task == task]

    @property
    def note(self) -> str:
        """The runs that could not be compared."""
        if not self.left_out:
            return ""
        return f"{counted(len(self.left_out), 'run')} not compared: {'; '.join(self.left_out[:5])}."


def compare(
    rows: Sequence[Row],
    columns: Sequence[TaskColumn],
    average_over: Sequence[TaskColumn],
    baseline: str | None,
) -> Significance:
    """Compares rows of one group.

    Args:
        average_over: the columns of the average; none, and there is no average.
        baseline: method whose first row all other rows are compared with, as row less baseline; None: the
            first row of sparsegrad against all others, or, without sparsegrad, as with lora, ft or the first.
    """
    first = {row.method: row.label for row in reversed(rows)}
    is_subject = baseline is None and "sparsegrad" in first
    preferred = ["sparsegrad"] if is_subject else [baseline or "lora", "lora", "ft", rows[0].method]
    fixed = next(first[name] for name in preferred if name in first)
    others = [row.label for row in rows if row.label != fixed]
    pairs = [(fixed, other) if is_subject else (other, fixed) for other in others]
    resamples = max(RESAMPLES, PER_COMPARISON * len(pairs) * (len(columns) + 1))
    scored = [_score(column, rows, resamples, place) for place, column in enumerate(columns) if pairs]
    averaged = [each for each in scored if each.column in average_over]
    found: list[Comparison] = []
    for pair in pairs:
        for each in scored:
            if difference := paired_difference(each.scores, *pair, each.rng):
                aso = stochastic_order(each.ranked(rows, pair[0]), each.ranked(rows, pair[1]))
                found.append(_comparison(pair, each.column.name, difference, each.examples, aso))
        means = [m for each in averaged if (m := paired_difference(each.means, *pair, each.rng))]
        if means and len(means) == len(average_over) and (both := mean_difference(means)):
            found.append(_comparison(pair, AVERAGE, both, sum(each.examples for each in averaged)))
    main = columns[0].name if len(columns) == 1 else AVERAGE
    left_out = dict.fromkeys(why for each in scored for why in each.left_out)
    return Significance(
        tuple(_correct(found, main)), resamples, tuple(left_out), fixed if found else "", is_subject
    )


def _correct(found: Sequence[Comparison], main: str) -> list[Comparison]:
    """Holm's correction within each of the two families."""
    corrected = list(found)
    for family in (True, False):
        places = [i for i, each in enumerate(found) if (each.task == main) == family]
        for i, p in zip(places, holm([found[i].p for i in places]), strict=True):
            corrected[i] = replace(found[i], p_holm=p)
    return corrected


@dataclass(frozen=True)
class _Scored:
    """A column of a table."""

    column: TaskColumn
    scores: Scores | None  # of the main metric; None: no run left predictions
    means: Scores | None  # of the mean of the task's metrics, which counts in the average
    examples: int
    left_out: list[str]
    rng: np.random.Generator

    def ranked(self, rows: Sequence[Row], label: str) -> list[float]:
        """The scores of a row's seeds, more of which is better."""
        sign = -1.0 if self.column.scale.less_is_better else 1.0
        runs = self.column.of(next(row.runs for row in rows if row.label == label))
        return [sign * float(score) for score in runs["score"]]


def _score(column: TaskColumn, rows: Sequence[Row], resamples: int, place: int) -> _Scored:
    rng = np.random.default_rng([SEED, place])
    runs = {
        (row.label, run["seed"]): run["folder"]
        for row in rows
        for run in records(column.of(row.runs).sort_values("seed"))
    }
    read = read_predictions(list(runs.values()), is_loss=column.score_name == LOSS)
    left_out = [
        f"{label} seed {seed} on {column.name}: {read.missing[folder]}"
        for (label, seed), folder in runs.items()
        if folder in read.missing
    ]
    scores = means = None
    if read.place:
        names = _metrics_of_split(column)
        classes = read_classes(next(iter(read.place))) if any(n.startswith("f1") for n in names) else None
        at = {name: read.place[folder] for name, folder in runs.items() if folder in read.place}
        predictions = pd.DataFrame(
            read.predictions[:, list(at.values())], columns=pd.MultiIndex.from_tuples(at)
        )
        main = find_metric(column.score_name, classes)
        scores = means = resample_scores(main, read.labels, predictions, resamples, rng, read.trees)
        if len(names) > 1:
            mean = mean_metric([find_metric(name, classes) for name in names])
            means = resample_scores(mean, read.labels, predictions, resamples, rng, read.trees)
    return _Scored(column, scores, means, len(read.labels), left_out, rng)


def _metrics_of_split(column: TaskColumn) -> list[str]:
    """The metrics of the split that the main one is of: of MNLI, those of the matched split."""
    task = column.known
    if task and column.score_name == task.score_name:
        return [f"{metric}{task.suffixes[0]}" for metric in task.metrics]
    suffix = column.score_name.removeprefix(metric_name(column.score_name))
    known = [name for name in column.metrics if name.startswith(tuple(METRICS))]
    return [name for name in known if name.removeprefix(metric_name(name)) == suffix]


def _comparison(
    pair: tuple[str, str], task: str, difference: Difference, examples: int, aso: float | None = None
) -> Comparison:
    by_seed, p = difference.by_seed, difference.p()
    return Comparison(
        *(*pair, task, difference.mean),
        *(*difference.interval(LEVEL), *difference.interval(2 * LEVEL)),
        p=p,
        p_holm=p,
        seeds=tuple(map(int, by_seed.index)),
        std=float(by_seed.std()) if len(by_seed) > 1 else None,
        examples=examples,
        aso=aso,
    )


def resample_scores(
    metric: Metric,
    labels: np.ndarray,
    predictions: pd.DataFrame,
    resamples: int,
    rng: np.random.Generator,
    trees: np.ndarray | None = None,
) -> Scores:
    """Scores runs on the examples, and on samples of them drawn with replacement.

    Args:
        labels: of the examples, `n`.
        predictions: of M runs, `n x M`; a column is named by label and seed.
        trees: which tree each example is cut from, `n`; given, whole trees are drawn.
    """
    if trees is None:
        # examples on which label and all predictions agree are drawn together: often few kinds of them
        kinds, counts = np.unique(np.column_stack([labels, predictions]), axis=0, return_counts=True)
        chances, draws, spread = counts / len(labels), len(labels), None
    else:
        kinds, counts = np.column_stack([labels, predictions]), np.ones(len(labels), dtype=int)
        size = trees.max() + 1
        chances, draws, spread = np.full(size, 1 / size), size, trees
    rows = max(1, AT_ONCE // len(kinds))
    parts = []
    for start in range(0, resamples, rows):
        weights = rng.multinomial(draws, chances, size=min(rows, resamples - start)).astype(float)
        weights = weights if spread is None else weights[:, spread]
        parts.append(metric(weights, kinds[:, 0], kinds[:, 1:]))
    observed = metric(counts[None].astype(float), kinds[:, 0], kinds[:, 1:])[0]
    runs = predictions.columns
    return Scores(pd.Series(observed, runs), pd.DataFrame(np.concatenate(parts), columns=runs))


def paired_difference(
    scores: Scores | None, subject: str, other: str, rng: np.random.Generator
) -> Difference | None:
    """Returns the mean difference of two rows over the seeds that both have; None where there is none."""
    if scores is None or not {subject, other} <= set(scores.observed.index.get_level_values(0)):
        return None
    by_seed = (scores.observed[subject] - scores.observed[other]).dropna()
    if by_seed.empty:
        return None
    resampled = (scores.resampled[subject] - scores.resampled[other])[by_seed.index].mean(axis=1).to_numpy()
    if len(by_seed) > 1:
        error = by_seed.std() / np.sqrt(len(by_seed))
        resampled = resampled + error * rng.standard_t(len(by_seed) - 1, size=len(resampled))
    return Difference(by_seed, resampled)


def mean_difference(differences: Sequence[Difference]) -> Difference | None:
    """Returns the mean over tasks, each resampled for itself; None where they have no seed in common.

    The mean is over the seeds that each task has; the spread between seeds is of those that all have.
    """
    by_seed = pd.concat([each.by_seed for each in differences], axis=1).dropna().mean(axis=1).sort_index()
    if by_seed.empty:
        return None
    shift = float(np.mean([each.mean for each in differences])) - by_seed.mean()
    return Difference(by_seed + shift, np.mean([each.resampled for each in differences], axis=0))


def holm(p: Sequence[float]) -> list[float]:
    """Returns p values corrected for being several, in the same order (Holm 1979)."""
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected


def stochastic_order(one: Sequence[float], other: Sequence[float], resamples: int = 1000) -> float | None:
    """Returns how far `one` is from being stochastically above `other`: 0 is above it, 1 is below.

    Almost stochastic order (del Barrio et al. 2018, Dror et al. 2019): the share of the squared distance
    between the two quantile functions where `other` is the higher one, at the upper end of its 95%
    interval. Below 0.5, and better 0.2, `one` may be called the better. None for fewer than `ASO_SEEDS`.
    """
    a, b = np.sort(np.asarray(one, float)), np.sort(np.asarray(other, float))
    if min(len(a), len(b)) < ASO_SEEDS:
        return None
    rng, grid = np.random.default_rng(SEED), np.linspace(0.005, 0.995, 199)

    def violation(a: np.ndarray, b: np.ndarray) -> float:
        gaps = np.quantile(b, grid) - np.quantile(a, grid)
        total = float((gaps**2).sum())
        return float((np.clip(gaps, 0, None) ** 2).sum()) / total if total else 0.5

    observed = violation(a, b)
    drawn = [violation(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(resamples)]
    return min(1.0, max(0.0, observed + 1.645 * float(np.std(drawn))))


def detectable_difference(std: float, seeds: int, power: float = 0.8) -> float:
    """Returns the smallest mean of paired differences that a two-sided 5% t test finds 8 times of 10.

    That it is found on the wrong side is left out: at this power it never happens.

    Args:
        std: of the seeds' differences, in any unit; the result is in the same.
        seeds: two or more.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    critical = t.ppf(1 - LEVEL / 2, seeds - 1)

    def lacking(size: float) -> float:
        return float(nct.sf(critical, seeds - 1, size * np.sqrt(seeds))) - power

    return std * float(brentq(lacking, 0.0, 15.0))
