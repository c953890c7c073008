"""Whether SparseGrad differs from each other method of a table: on each task and on the average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...settings import Record
from ...store.records import LOSS
from ...tasks import get_task, task_names
from ..build import TABLE, of_column, split_tables
from ..reading import reading
from ..rows import RowRuns, split_rows
from ..table import Column, Table
from .bootstrap import Difference, Scores, holm, mean_difference, paired_difference, resample_scores
from .predictions import read_classes, read_predictions
from .weighted_metrics import find_metric, mean_metric

SUBJECT = "sparsegrad"
AVERAGE = "average"
LEVEL = 0.05
RESAMPLES = 3000  # at least; more for many comparisons, whose smallest corrected p must be below the level
PER_COMPARISON = 100
SEED = 0


class Comparison(Record):
    """Two rows of a table on one of its columns."""

    subject: str  # label of the row of SparseGrad
    other: str
    task: str  # with the mark of its column, or "average"
    difference: float  # of the main metric, subject less other: mean over the seeds, as the metric gives it
    low: float  # of the interval at the level of this comparison alone
    high: float
    p: float  # two-sided
    p_holm: float  # corrected for all comparisons of the table
    seeds: tuple[int, ...]  # that both rows have; of the average, on every task
    examples: int  # that scores are over; of the average, on all tasks
    level: float = LEVEL

    @property
    def significant(self) -> bool:
        """At the level, after the correction."""
        return self.p_holm < self.level


class LeftOut(Record):
    """A run that is in the table and in no comparison."""

    row: str  # its label
    task: str
    seed: int
    why: str


class Significance(Record):
    """The comparisons of one table."""

    table: str  # its title
    level: float
    resamples: int
    comparisons: tuple[Comparison, ...]
    left_out: tuple[LeftOut, ...]


def find_significance(tables: Sequence[Table], runs: pd.DataFrame) -> tuple[Significance | None, ...]:
    """What the predictions of the runs tell of each table; None without SparseGrad or without another method.

    Args:
        tables: as `build_tables` makes them of `runs`.
        runs: finished runs, as `read_runs` has them, each once.
    """
    parts = dict(split_tables(runs))
    return tuple(significance_of(table, parts[_key(table)]) for table in tables)


def read_out(table: Table, found: Significance | None) -> Table:
    """The table, in whose reading differences are called significant or not."""
    task = AVERAGE if len(table.columns) > 1 else table.columns[0].task
    compared = found.comparisons if found else ()
    tested = {(each.subject, each.other): each.significant for each in compared if each.task == task}
    return table.model_copy(update={"reading": reading(table.rows, table.columns, tested)})


def _key(table: Table) -> tuple[str, ...]:
    return tuple(getattr(table, "data" if name == "kind" else name) for name in TABLE)


def significance_of(table: Table, runs: pd.DataFrame) -> Significance | None:
    """The same of one table and the runs that it is made of."""
    rows = {row.label: own for row, own in zip(table.rows, split_rows(runs), strict=True)}
    pairs = [
        (subject, other)
        for subject in rows
        for other in rows
        if rows[subject].method == SUBJECT != rows[other].method
    ]
    if not pairs:
        return None
    resamples = max(RESAMPLES, PER_COMPARISON * len(pairs) * (len(table.columns) + 1))
    columns = [
        _score(column, rows, resamples, np.random.default_rng([SEED, place]))
        for place, column in enumerate(table.columns)
    ]
    found = [each for pair in pairs for each in _compare(pair, table, columns)]
    corrected = holm([each.p for each in found])
    return Significance(
        table=table.title,
        level=LEVEL,
        resamples=resamples,
        comparisons=tuple(
            each.model_copy(update={"p_holm": p}) for each, p in zip(found, corrected, strict=True)
        ),
        left_out=tuple(each for column in columns for each in column.left_out),
    )


@dataclass(frozen=True)
class _Scored:
    """A column of a table."""

    column: Column
    scores: Scores | None  # of the main metric; None: no run left predictions
    means: Scores | None  # of the mean of the task's metrics, which counts in the average
    place: dict[tuple[str, int], int]  # label of the row, seed -> which of the scores
    left_out: list[LeftOut]
    rng: np.random.Generator

    def seeds(self, pair: tuple[str, str]) -> tuple[int, ...]:
        """That both rows of a pair have."""
        of_rows = [{seed for label, seed in self.place if label == name} for name in pair]
        return tuple(sorted(set.intersection(*of_rows)))

    def difference(self, pair: tuple[str, str]) -> Difference | None:
        """Of the main metric of the rows of a pair; None without a common seed."""
        return self._difference(pair, self.scores)

    def difference_of_means(self, pair: tuple[str, str]) -> Difference | None:
        """The same of the mean of the task's metrics."""
        return self._difference(pair, self.means)

    def _difference(self, pair: tuple[str, str], scores: Scores | None) -> Difference | None:
        subject, other = ([self.place[name, seed] for seed in self.seeds(pair)] for name in pair)
        return paired_difference(scores, subject, other, self.rng) if scores and subject else None


def _score(column: Column, rows: dict[str, RowRuns], resamples: int, rng: np.random.Generator) -> _Scored:
    runs = {
        (label, run["seed"]): run["folder"]
        for label, row in rows.items()
        for run in of_column(column, row.runs).sort_values("seed").to_dict("records")
    }
    read = read_predictions(runs.values(), is_loss=column.score_name == LOSS)
    place = {key: read.place[folder] for key, folder in runs.items() if folder in read.place}
    left_out = [
        LeftOut(row=label, task=_named(column), seed=seed, why=read.missing[folder])
        for (label, seed), folder in runs.items()
        if folder in read.missing
    ]
    scores = means = None
    if place:
        names = _metrics_of_split(column)
        classes = read_classes(next(iter(read.place))) if any(n.startswith("f1") for n in names) else None
        main = find_metric(column.score_name, classes)
        scores = means = resample_scores(main, read.labels, read.predictions, resamples, rng)
        if len(names) > 1:
            mean = mean_metric([find_metric(name, classes) for name in names])
            means = resample_scores(mean, read.labels, read.predictions, resamples, rng)
    return _Scored(column, scores, means, place, left_out, rng)


def _metrics_of_split(column: Column) -> list[str]:
    """The metrics of the examples that the main one is of: of MNLI, those of the matched split."""
    if column.score_name == LOSS:
        return [LOSS]
    if column.task not in task_names():
        return list(column.metrics)
    task = get_task(column.task)
    return [f"{metric}{task.suffixes[0]}" for metric in task.metrics]


def _compare(pair: tuple[str, str], table: Table, columns: Sequence[_Scored]) -> list[Comparison]:
    """On every column that both rows have; on the average, where both have one."""
    found = [(scored, difference) for scored in columns if (difference := scored.difference(pair))]
    made = [
        _comparison(pair, _named(scored.column), difference, scored.seeds(pair), scored.scores.examples)
        for scored, difference in found
        if scored.scores
    ]
    counted = [
        (scored, difference)
        for scored in columns
        if scored.column.in_average and (difference := scored.difference_of_means(pair))
    ]
    with_average = {row.label for row in table.rows if row.average}
    if with_average >= set(pair) and len(counted) == sum(column.in_average for column in table.columns):
        seeds = set.intersection(*(set(scored.seeds(pair)) for scored, _ in counted))
        examples = sum(scored.scores.examples for scored, _ in counted if scored.scores)
        mean = mean_difference([difference for _, difference in counted])
        made.append(_comparison(pair, AVERAGE, mean, tuple(sorted(seeds)), examples))
    return made


def _comparison(
    pair: tuple[str, str], task: str, difference: Difference, seeds: tuple[int, ...], examples: int
) -> Comparison:
    low, high = difference.interval(LEVEL)
    p = difference.p()
    return Comparison(
        subject=pair[0],
        other=pair[1],
        task=task,
        difference=difference.observed,
        low=low,
        high=high,
        p=p,
        p_holm=p,
        seeds=seeds,
        examples=examples,
    )


def _named(column: Column) -> str:
    return f"{column.task} {column.mark}".strip()
