"""Our runs as tables: methods by tasks with averages, differences and costs; settings; judges' ratings."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any

import pandas as pd

from .. import paper
from ..judge.records import Judgement
from ..store.records import greater_is_better
from .comparable import LINES, Group, Row, TaskColumn, at_recipe
from .significance import AVERAGE, Comparison, Significance, compare
from .table import (
    AT_EDGE,
    COLLAPSED,
    DASH,
    RATINGS,
    Column,
    Columns,
    MeanStd,
    Scale,
    Table,
    amount,
    known,
    megabytes,
    metric_words,
    percent,
    records_table,
    three_digits,
)

FEW = 3  # tasks that a terminal of 100 columns has room for beside the rest
BEFORE, LOSS_BEFORE = "not trained", "loss_before"  # the starting checkpoint, its loss among a run's metrics


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
    share: float | None  # adapted over all entries of the MLP linears, of methods that keep some only

    @property
    def touched_share(self) -> float | None:
        if self.share is None or self.touched is None or not self.adapted:
            return None
        return self.share * self.touched / self.adapted


COSTS = tuple(name for name in Costs.__dataclass_fields__ if name not in ("runs", "share"))


@dataclass(frozen=True)
class Ratings:
    """What one judge gave to the answers of each row, by one set of questions in one wording."""

    name: str
    config: Any  # JudgeConfig of any of the judgements
    scores: dict[str, MeanStd]  # label of a row, or `BEFORE` -> over the runs, each with its mean rating
    parts: dict[str, dict[str, float]]  # the same -> "turn 1", "math", ... -> mean
    unrated: dict[str, tuple[int, int]]  # the same -> answers without a rating, answers in all

    @property
    def head(self) -> str:
        return f"rated by\n{self.name}"

    def table(self, labels: Sequence[str]) -> Table:
        """Draws the means by turn and category of rows."""

        def mean_of(part: str, label: str) -> str:
            return RATINGS.number(self.parts[label][part]) if part in self.parts[label] else DASH

        parts = dict.fromkeys(part for label in labels for part in self.parts[label])
        columns: Columns = [
            (self.head.replace("\n", " "), str),
            *((part, partial(mean_of, part)) for part in parts),
            ("unrated", lambda label: "{} of {}".format(*self.unrated[label])),
        ]
        return records_table(labels, columns)


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

    @property
    def fixed(self) -> str:
        """The row that stands in every comparison; empty without comparisons."""
        return self.significance.fixed

    @cached_property
    def costs(self) -> dict[str, Costs]:
        """By label, over the tasks that every row has."""
        shared = [c for c in self.columns if all(c.name in row.choices for row in self.rows)]
        parts = {row.label: pd.concat([c.of(row.runs) for c in shared or self.columns]) for row in self.rows}
        values = {label: {n: known(runs.get(n, ())) for n in COSTS} for label, runs in parts.items()}
        means = {label: {n: fmean(v) if v else None for n, v in of.items()} for label, of in values.items()}
        entries = next((means[r.label]["adapted"] for r in self.rows if r.method == "ft"), None)
        found = {}
        for row in self.rows:
            of, share = means[row.label], row.runs["density"].iloc[0]
            if row.runs["kept"].iloc[0] is not None:
                share = of["adapted"] / entries if entries and of["adapted"] else share
            found[row.label] = Costs(**of, runs=len(parts[row.label]), share=share if of["adapted"] else None)
        return found

    def score(self, row: Row, column: TaskColumn, metric: str = "") -> MeanStd | None:
        """Returns a row's mean of a metric, by default the main one."""
        values = known(m.get(metric or column.score_name) for m in column.of(row.runs)["metrics"])
        return MeanStd.over(values) if values else None

    def average(self, row: Row) -> MeanStd | None:
        """Returns the mean over tasks of the mean of a task's metrics, as GLUE has it."""
        return average(row, self.group.average_over, task_score)

    def main_score(self, row: Row) -> MeanStd | None:
        """Returns the one number of a row: the average, or the score on the only task."""
        return self.average(row) if self.main == AVERAGE else self.score(row, self.columns[0])

    @cached_property
    def drawn(self) -> list[Row]:
        """The rows that a panel of lines has room for: of many the paper's methods, then the best."""
        sign = -1 if greater_is_better(self.columns[0].score_name) else 1

        def place(row: Row) -> tuple[bool, float]:
            score = self.main_score(row)
            return row.method not in paper.METHODS, math.inf if score is None else sign * score.mean

        chosen = {row.label for row in sorted(self.rows, key=place)[:LINES]}
        return [row for row in self.rows if row.label in chosen]

    @property
    def not_drawn(self) -> str:
        """The end of a caption that names the rows which a panel of lines has no room for."""
        drawn = {row.label for row in self.drawn}
        left = [row.label for row in self.rows if row.label not in drawn]
        return f"; not drawn: {', '.join(left)}" if left else ""

    @cached_property
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
        named = (each for each in self.significance.main(task) if row.label in (each.subject, each.other))
        return next(named, None) if row.label != self.fixed else None

    def difference_column(self, rows: Sequence[Row], task: str, head: str, nothing: str = "") -> Column:
        """Returns the differences of rows on a task, or on the average."""
        scale = next((column.scale for column in self.columns if column.name == task), self.scale)
        found = [self.comparison(row, task) for row in rows]
        return Column(head, [each.cell(scale) if each else nothing for each in found])

    @property
    def difference_head(self) -> str:
        return f"{self.fixed}\nless this" if self.significance.is_subject else f"less\n{self.fixed}"

    def table(self, brief: bool = False) -> Table:
        """Draws methods by tasks, with averages, differences and costs.

        Args:
            brief: without the columns that a terminal of 100 columns lacks room for.
        """
        columns = [Column("method", [row.label for row in self.rows])]
        only_average = brief and len(self.columns) > FEW
        columns += [] if only_average else [self.score_column(column) for column in self.columns]
        if over := self.group.average_over:
            note = "" if len(over) == len(self.columns) and not only_average else f"of {len(over)} tasks"
            words = [self.scale.words(self.average(row), not self.same_seeds) for row in self.rows]
            columns.append(Column("average", words, note))
        if self.group.is_chat:
            found = [self.score(row, self.columns[0], "perplexity") for row in self.rows]
            columns.append(Column("perplexity", [f"{each.mean:.2f}" if each else DASH for each in found]))
            columns += [
                Column(judge.head, [RATINGS.words(judge.scores.get(row.label)) for row in self.rows])
                for judge in self.ratings
            ]
        if self.significance.main(self.main):
            columns.append(self.difference_column(self.rows, self.main, self.difference_head))
        columns += _cost_columns([self.costs[row.label] for row in self.rows], brief)
        return Table(columns) if brief else self._with_before(Table(columns))

    def _with_before(self, drawn: Table) -> Table:
        """Adds the row of the starting checkpoint, where anything is known of it."""
        rated = {judge.head: RATINGS.words(judge.scores.get(BEFORE)) for judge in self.ratings}
        if not self.group.is_chat or (self.before is None and not set(rated.values()) - {DASH}):
            return drawn
        loss = self.before
        score, perplexity = (
            (DASH, DASH) if loss is None else (self.scale.number(loss), f"{math.exp(loss):.2f}")
        )
        cells = {"method": BEFORE, drawn.columns[1].head: score, "perplexity": perplexity, **rated}
        return Table([replace(c, cells=[cells.get(c.head, ""), *c.cells]) for c in drawn.columns])

    def difference_table(self) -> Table | None:
        """Draws the differences on each task; None where there is one task or nothing to compare."""
        if len(self.columns) < 2 or not self.significance.comparisons:
            return None
        others = [row for row in self.rows if row.label != self.fixed]
        head = Column(self.difference_head.replace("\n", " "), [row.label for row in others])
        return Table([head, *(self.difference_column(others, c.name, c.name, DASH) for c in self.columns)])

    def rating_tables(self) -> list[Table]:
        """Draws for each judge the means by turn and category, a row for each row that was judged."""
        order = (BEFORE, *(row.label for row in self.rows))
        return [judge.table([label for label in order if label in judge.parts]) for judge in self.ratings]

    def score_column(self, column: TaskColumn) -> Column:
        cells = []
        for row in self.rows:
            score, choice = self.score(row, column), row.choices.get(column.name)
            text = column.scale.words(score, not self.same_seeds)
            if choice is not None and score is not None:
                collapsed = column.of(row.runs)["single_class"].any()
                text += COLLAPSED * bool(collapsed) + AT_EDGE * choice.at_edge
            cells.append(text)
        majority = "" if column.majority is None else f"majority {100 * column.majority:.1f}"
        note = ", ".join(filter(None, (column.note, column.mark, majority)))
        return Column(f"{column.task}\n{metric_words(column.score_name)}", cells, note)


def build_group(
    group: Group, baseline: str | None = None, judgements: Sequence[Judgement] = ()
) -> GroupTable:
    """Compares the rows of a group."""
    found = compare(group.rows, group.columns, group.average_over, baseline)
    return GroupTable(group, group.rows, found, find_ratings(group, judgements) if group.is_chat else ())


def build_ablation(group: Group, method: str) -> GroupTable:
    """Compares the settings that one method was run with.

    One that was tried at as many recipes as the method's reference stands at its own best; another at the
    recipe of the reference, where it was run at that.
    """
    reference, *others = group.ablations[method]
    rows = [reference, *(_at_choices(row, reference, group.columns) for row in others)]
    return GroupTable(group, rows, compare(rows, group.columns, (), method))


def ablation_table(made: GroupTable) -> Table:
    """Draws the settings of one method, a row each: what varies, scores, differences, costs."""
    reference, *others = made.rows
    varies = [
        name for name in made.group.varies(reference.method) if any(name in row.settings for row in others)
    ]
    if len(varies) == 1:
        (name,) = varies
        columns = [Column(name.replace("_", "-"), [_value(row.runs[name].iloc[0]) for row in made.rows])]
    else:
        first = made.group.settings_words(reference) or "nothing set"
        columns = [Column("what varies", [first, *(row.suffix for row in others)])]
    for column in made.columns:
        if column.name in reference.choices and any(column.name in row.choices for row in others):
            columns.append(made.score_column(column))
            if made.significance.main(column.name):
                columns.append(made.difference_column(made.rows, column.name, "less the\nfirst row"))
    return Table([*columns, *_cost_columns([made.costs[row.label] for row in made.rows], brief=False)])


def average(
    row: Row, columns: Sequence[TaskColumn], score: Callable[[pd.DataFrame, TaskColumn], list[float]]
) -> MeanStd | None:
    """Returns the mean over tasks of a row that has them all; its spread is over the seeds with all of them.

    Args:
        score: of each run on a task, such as `task_score`.
    """
    if len(columns) < 2 or any(column.name not in row.choices for column in columns):
        return None
    parts = [(column.name, column.of(row.runs), column) for column in columns]
    by_seed = pd.DataFrame(
        {name: pd.Series(score(runs, c), index=runs["seed"], dtype=float) for name, runs, c in parts}
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


def _cost_columns(costs: Sequence[Costs], brief: bool) -> Sequence[Column]:
    def entries(value: float | None, share: float | None) -> str:
        return amount(value) if share is None or value is None else f"{amount(value)} ({percent(share)})"

    columns: Columns = [
        ("steps/s", lambda cost: three_digits(cost.steps_per_second)),
        ("peak\nMB", lambda cost: megabytes(cost.peak_memory_bytes)),
        ("trained\nvalues", lambda cost: amount(cost.trainable)),
        ("in MLPs,\na step", lambda cost: entries(cost.adapted, cost.share)),
        ("in MLPs,\never", lambda cost: entries(cost.touched, cost.touched_share)),
    ]
    return records_table(costs, columns[:3] if brief else columns).columns


def _at_choices(row: Row, reference: Row, columns: Sequence[TaskColumn]) -> Row:
    """The row where it was tried less than the reference: at the recipes chosen for that one, if at all."""
    choices, chosen = {}, []
    for column in columns:
        if column.name not in row.choices:
            continue
        runs, choice = column.of(row.runs), row.choices[column.name]
        wanted = reference.choices.get(column.name)
        if wanted is not None and choice.tried < wanted.tried:
            theirs = at_recipe(column.of(row.everything), wanted.recipe)
            runs, choice = (theirs, replace(wanted, rates=())) if len(theirs) else (runs, choice)
        choices[column.name] = choice
        chosen.append(runs)
    return replace(row, runs=pd.concat(chosen), choices=choices)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)[:12]


def find_ratings(group: Group, judgements: Iterable[Judgement]) -> list[Ratings]:
    """Finds for each way of judging what it gave to the rows, and to the checkpoint that they start from."""
    by_judge: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.result.score is not None:
            config = judgement.config
            alike = config.model_dump_json(exclude={"kind", "answers", "run", "questions", "prompts"})
            by_judge[f"{alike}{config.answers.max_new_tokens}"].append(judgement)
    found = []
    for _, own in sorted(by_judge.items()):
        judged = {row.label: [j for j in own if j.config.run in set(row.runs["id"])] for row in group.rows}
        start = group.first["checkpoint"]
        judged[BEFORE] = [j for j in own if j.config.run is None and j.config.answers.checkpoint == start]
        if judged := {label: of_row for label, of_row in judged.items() if of_row}:
            found.append(_ratings(own[0].config, judged))
    times, seen = Counter(each.name for each in found), Counter[str]()
    for place, each in enumerate(found):
        seen[each.name] += 1
        if times[each.name] > 1:
            found[place] = replace(each, name=f"{each.name} ({seen[each.name]})")
    return found


def _ratings(config: Any, judged: dict[str, list[Judgement]]) -> Ratings:
    scores, parts, unrated = {}, {}, {}
    for label, own in judged.items():
        by_run: dict[str | None, list[float]] = defaultdict(list)  # answers with other seeds count once
        of_parts: dict[str, list[float]] = defaultdict(list)
        for judgement in own:
            result = judgement.result
            by_run[judgement.config.run].append(float(result.score or 0.0))
            turns = {f"turn {turn}": mean for turn, mean in result.turns.items()}
            for name, mean in (turns | result.categories).items():
                of_parts[name].append(mean)
        scores[label] = MeanStd.over(map(fmean, by_run.values()))
        parts[label] = {name: fmean(values) for name, values in of_parts.items()}
        without = sum(j.result.unrated for j in own)
        unrated[label] = (without, without + sum(j.result.rated for j in own))
    return Ratings(config.judge_model, config, scores, parts, unrated)
