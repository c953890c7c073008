"""Our runs as tables: methods by tasks with averages, differences and costs; settings; ratings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import pandas as pd

from ..judge.records import Judgement
from .comparable import Group, Row, TaskColumn, at_recipe
from .ratings import BEFORE, Ratings, find_ratings
from .significance import AVERAGE, Comparison, Significance, compare, stochastic_order
from .table import (
    AT_EDGE,
    COLLAPSED,
    DASH,
    RATINGS,
    Column,
    MeanStd,
    Scale,
    Table,
    amount,
    amount_and_share,
    known,
    megabytes,
    metric_words,
    table_of,
    three_digits,
)

FEW = 3  # tasks that a terminal of 100 columns has room for beside the rest
LOSS_BEFORE = "loss_before"  # among a run's metrics: the starting checkpoint's loss
COSTS = ("steps_per_second", "peak_memory_bytes", "trainable", "adapted", "touched", "head", "total")


@dataclass(frozen=True)
class Costs:
    """Means over the runs of a row; None where no run measured it."""

    steps_per_second: float | None
    peak_memory_bytes: float | None
    trainable: float | None  # values that a step may move
    adapted: float | None  # those that it moves in the MLP linears (lora: in its A and B)
    touched: float | None  # moved at least once in the run
    head: float | None
    total: float | None
    runs: int
    share: float | None = None  # adapted over all entries of the MLP linears, of methods that keep some only

    @property
    def touched_share(self) -> float | None:
        if self.share is None or self.touched is None or not self.adapted:
            return None
        return self.share * self.touched / self.adapted


@dataclass(frozen=True)
class GroupTable:
    """A group of runs that may be compared, with what was found of it."""

    group: Group
    rows: Sequence[Row]
    significance: Significance
    ratings: Sequence[Ratings] = ()

    @property
    def columns(self) -> tuple[TaskColumn, ...]:
        return self.group.columns

    @property
    def scale(self) -> Scale:
        return self.columns[0].scale

    @property
    def main(self) -> str:
        """What the first family of comparisons is on: the average, or the only task."""
        return self.columns[0].name if len(self.columns) == 1 else AVERAGE

    @cached_property
    def costs(self) -> dict[str, Costs]:
        """By label, over the tasks that every row has."""
        shared = [c for c in self.columns if all(c.name in row.choices for row in self.rows)]
        found = {row.label: _costs(row, shared or self.columns) for row in self.rows}
        entries = next((found[r.label].adapted for r in self.rows if r.method == "ft"), None)
        return {row.label: _with_share(found[row.label], row, entries) for row in self.rows}

    def score(self, row: Row, column: TaskColumn, metric: str = "") -> MeanStd | None:
        """Returns a row's mean of a metric, by default the main one."""
        values = [m.get(metric or column.score_name) for m in column.of(row.runs)["metrics"]]
        return MeanStd.over(known(values)) if known(values) else None

    def average(self, row: Row) -> MeanStd | None:
        """Returns the mean over tasks of the mean of a task's metrics, as GLUE has it."""
        return average(row, self.group.average_over, task_score)

    def main_score(self, row: Row) -> MeanStd | None:
        """Returns the one number of a row: the average, or the score on the only task."""
        return self.average(row) if self.main == AVERAGE else self.score(row, self.columns[0])

    @property
    def same_seeds(self) -> bool:
        """Whether every cell is over the same number of seeds."""
        sizes = {len(c.of(row.runs)) for row in self.rows for c in self.columns if c.name in row.choices}
        return len(sizes) < 2

    @cached_property
    def before(self) -> float | None:
        """The starting checkpoint's loss, of chat tasks."""
        values = known(metrics.get(LOSS_BEFORE) for metrics in self.group.runs["metrics"])
        return fmean(values) if values else None

    def comparison(self, row: Row, task: str) -> Comparison | None:
        """Returns the comparison in which the row is not the fixed one."""
        fixed = self.fixed
        for each in self.significance.main(task):
            if row.label != fixed and row.label in (each.subject, each.other):
                return each
        return None

    @property
    def fixed(self) -> str:
        """The row that stands in every comparison; empty without comparisons."""
        pairs = [{each.subject, each.other} for each in self.significance.comparisons]
        if not pairs:
            return ""
        common = set.intersection(*pairs)
        first = self.significance.comparisons[0]
        return first.subject if first.subject in common and _is_subject(self) else first.other

    @property
    def difference_head(self) -> str:
        """What the column of differences is called."""
        if not self.significance.comparisons:
            return ""
        fixed = self.fixed
        return f"{fixed}\nless this" if _is_subject(self) else f"less\n{fixed}"

    def table(self, brief: bool = False) -> Table:
        """Draws methods by tasks, with averages, differences and costs.

        Args:
            brief: without the columns that a terminal of 100 columns lacks room for.
        """
        count = not self.same_seeds
        columns = [Column("method", [row.label for row in self.rows])]
        only_average = brief and len(self.columns) > FEW
        columns += [] if only_average else [_score_column(self, c, count) for c in self.columns]
        if self.group.average_over:
            over = self.group.average_over
            note = "" if len(over) == len(self.columns) and not only_average else f"of {len(over)} tasks"
            words = [self.scale.words(self.average(row), count) for row in self.rows]
            columns.append(Column("average", words, note))
        if self.group.is_chat:
            words = [_perplexity(self.score(row, self.columns[0], "perplexity")) for row in self.rows]
            columns.append(Column("perplexity", words))
            for judge in self.ratings:
                words = [RATINGS.words(judge.scores.get(row.label)) for row in self.rows]
                columns.append(Column(f"rated by\n{judge.name}", words))
        if self.significance.main(self.main):
            found = [self.comparison(row, self.main) for row in self.rows]
            cells = [each.cell(self.scale) if each else "" for each in found]
            columns.append(Column(self.difference_head, cells))
        columns += _cost_columns([self.costs[row.label] for row in self.rows], brief)
        drawn = Table(columns)
        return drawn if brief else _with_before(drawn, self)

    def difference_table(self) -> Table | None:
        """Draws the differences on each task; None where there is one task or nothing to compare."""
        if len(self.columns) < 2 or not self.significance.comparisons:
            return None
        others = [row for row in self.rows if row.label != self.fixed]
        columns = [Column(self.difference_head.replace("\n", " "), [row.label for row in others])]
        for column in self.columns:
            found = [self.comparison(row, column.name) for row in others]
            cells = [each.cell(column.scale) if each else DASH for each in found]
            columns.append(Column(column.name, cells))
        return Table(columns)

    def rating_tables(self) -> list[Table]:
        """Draws for each judge the means by turn and category, a row for each row that was judged."""
        made = []
        for judge in self.ratings:
            labels = [label for label in (BEFORE, *(row.label for row in self.rows)) if label in judge.parts]
            heads = dict.fromkeys(head for label in labels for head in judge.parts[label])
            columns: dict[str, Sequence[str]] = {f"rated by {judge.name}": labels}
            for head in heads:
                values = [judge.parts[label].get(head) for label in labels]
                columns[head] = [DASH if value is None else RATINGS.number(value) for value in values]
            columns["unrated"] = ["{} of {}".format(*judge.unrated[label]) for label in labels]
            made.append(table_of(columns))
        return made


def build_group(
    group: Group, baseline: str | None = None, judgements: Sequence[Judgement] = ()
) -> GroupTable:
    """Compares the rows of a group."""
    found = compare(group.rows, group.columns, group.average_over, baseline)
    made = GroupTable(group, group.rows, found, find_ratings(group, judgements) if group.is_chat else ())
    return replace(made, significance=replace(found, comparisons=tuple(_with_aso(made))))


def build_ablation(group: Group, method: str) -> GroupTable:
    """Compares the settings that one method was run with; each at the recipe of the method's reference.

    A setting that was not run at that recipe stands at its own best.
    """
    reference, *others = group.ablations[method]
    rows = [reference, *(_at_choices(row, reference, group.columns) for row in others)]
    found = compare(rows, group.columns, (), method)
    return GroupTable(group, rows, found)


def ablation_table(made: GroupTable) -> Table:
    """Draws the settings of one method, a row each: what varies, scores, differences, costs."""
    reference = made.rows[0]
    varies = [
        name for name in made.group.varies(reference.method) if any(name in r.settings for r in made.rows)
    ]
    if len(varies) == 1:
        (name,) = varies
        values = [row.runs[name].iloc[0] for row in made.rows]
        columns = [Column(name.replace("_", "-"), [_value(value) for value in values])]
    else:
        first = made.group.settings_words(reference) or "nothing set"
        columns = [Column("what varies", [first, *(row.suffix for row in made.rows[1:])])]
    count = not made.same_seeds
    for column in made.columns:
        if column.name in reference.choices and sum(column.name in row.choices for row in made.rows) > 1:
            columns.append(_score_column(made, column, count))
            if made.significance.main(column.name):
                found = [made.comparison(row, column.name) for row in made.rows]
                cells = [each.cell(column.scale) if each else "" for each in found]
                columns.append(Column("less the\nfirst row", cells))
    columns += _cost_columns([made.costs[row.label] for row in made.rows], brief=False)
    return Table(columns)


def average(
    row: Row, columns: Sequence[TaskColumn], score: Callable[[pd.DataFrame, TaskColumn], list[float]]
) -> MeanStd | None:
    """Returns the mean over tasks of a row that has them all; its spread is over the seeds with all of them.

    Args:
        score: of each run on a task, such as `task_score`.
    """
    if len(columns) < 2 or any(column.name not in row.choices for column in columns):
        return None
    parts = [(column, column.of(row.runs)) for column in columns]
    by_seed = pd.DataFrame(
        {c.name: pd.Series(score(runs, c), index=runs["seed"], dtype=float) for c, runs in parts}
    )
    of_seeds = by_seed.dropna().mean(axis=1)
    std = float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None
    return MeanStd(float(by_seed.mean().mean()), std, len(of_seeds))


def task_score(runs: pd.DataFrame, column: TaskColumn) -> list[float]:
    """Returns GLUE's score of a task for each run: the plain mean of the metrics that it has."""
    return [fmean(m[name] for name in column.metrics if name in m) for m in runs["metrics"]]


def main_score(runs: pd.DataFrame, column: TaskColumn) -> list[float]:
    """Returns the main metric of each run, as papers average it."""
    return list(runs["score"])


def _score_column(made: GroupTable, column: TaskColumn, count: bool) -> Column:
    cells = []
    for row in made.rows:
        score, choice = made.score(row, column), row.choices.get(column.name)
        text = column.scale.words(score, count)
        if choice is not None and score is not None:
            collapsed = column.of(row.runs)["single_class"].any()
            text += COLLAPSED * bool(collapsed) + AT_EDGE * choice.at_edge
        cells.append(text)
    majority = "" if column.majority is None else f"majority {100 * column.majority:.1f}"
    note = ", ".join(filter(None, (column.note, column.mark, majority)))
    return Column(f"{column.task}\n{metric_words(column.score_name)}", cells, note)


def _cost_columns(costs: Sequence[Costs], brief: bool) -> list[Column]:
    columns = [
        Column("steps/s", [three_digits(cost.steps_per_second) for cost in costs]),
        Column("peak\nMB", [megabytes(cost.peak_memory_bytes) for cost in costs]),
        Column("trained\nvalues", [amount(cost.trainable) for cost in costs]),
    ]
    if not brief:
        in_step = [amount_and_share(cost.adapted, cost.share) for cost in costs]
        ever = [amount_and_share(cost.touched, cost.touched_share) for cost in costs]
        columns += [Column("in MLPs,\na step", in_step), Column("in MLPs,\never", ever)]
    return columns


def _with_before(drawn: Table, made: GroupTable) -> Table:
    """Adds the row of the starting checkpoint, where anything is known of it."""
    rated = {f"rated by\n{judge.name}": judge.scores.get(BEFORE) for judge in made.ratings}
    if not made.group.is_chat or (made.before is None and not any(rated.values())):
        return drawn
    loss = made.before
    cells = {"method": BEFORE, **{head: RATINGS.words(score) for head, score in rated.items()}}
    cells[made.columns[0].task] = DASH if loss is None else made.scale.number(loss)
    cells["perplexity"] = DASH if loss is None else f"{math.exp(loss):.2f}"
    return Table(
        [
            replace(c, cells=[cells.get(c.head) or cells.get(c.head.split("\n")[0], ""), *c.cells])
            for c in drawn.columns
        ]
    )


def _perplexity(value: MeanStd | None) -> str:
    return DASH if value is None else f"{value.mean:.2f}"


def _costs(row: Row, columns: Sequence[TaskColumn]) -> Costs:
    parts = [column.of(row.runs) for column in columns]
    runs = pd.concat(parts)
    means = {name: known(runs[name]) if name in runs else [] for name in COSTS}
    return Costs(**{name: fmean(v) if v else None for name, v in means.items()}, runs=len(runs))


def _with_share(costs: Costs, row: Row, entries: float | None) -> Costs:
    """Adds what part of the MLP entries a step trains, for methods that keep some of them only.

    Args:
        entries: those of all MLP linears, as full fine-tuning counts them.
    """
    density, kept = row.runs["density"].iloc[0], row.runs["kept"].iloc[0]
    if kept is not None and entries and costs.adapted:
        return replace(costs, share=costs.adapted / entries)
    return replace(costs, share=density) if density is not None and costs.adapted else costs


def _at_choices(row: Row, reference: Row, columns: Sequence[TaskColumn]) -> Row:
    """The row at the recipes that were chosen for the reference, where it was run at them."""
    choices, chosen = {}, []
    for column in columns:
        if column.name not in row.choices:
            continue
        runs = row.runs
        choice = row.choices[column.name]
        if column.name in reference.choices:
            theirs = at_recipe(column.of(row.everything), reference.choices[column.name].recipe)
            if len(theirs):
                runs, choice = theirs, reference.choices[column.name]
        choices[column.name] = replace(choice, rates=())
        chosen.append(column.of(runs))
    return replace(row, runs=pd.concat(chosen), choices=choices)


def _with_aso(made: GroupTable) -> list[Comparison]:
    """Adds the order of the scores' distributions over seeds, where there are enough of them."""
    scores: dict[tuple[str, str], list[float]] = {}
    for row in made.rows:
        for column in made.columns:
            sign = -1.0 if column.scale.less_is_better else 1.0
            scores[row.label, column.name] = [sign * float(v) for v in column.of(row.runs)["score"]]
    return [
        replace(each, aso=stochastic_order(scores[each.subject, each.task], scores[each.other, each.task]))
        if each.task != AVERAGE
        else each
        for each in made.significance.comparisons
    ]


def _is_subject(made: GroupTable) -> bool:
    """Whether the fixed row is the one that others are subtracted from."""
    subjects = {each.subject for each in made.significance.comparisons}
    if len(subjects) == 1 and len({each.other for each in made.significance.comparisons}) == 1:
        (subject,) = subjects
        return made.group.row(subject).method == "sparsegrad"
    return len(subjects) == 1


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)[:12]
