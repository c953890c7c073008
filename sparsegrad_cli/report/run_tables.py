"""Our runs as tables: methods by tasks with averages, differences and costs; settings; ratings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import pandas as pd

from ..judge.records import Judgement
from ..store.records import LOSS
from .comparable import Group, Row, TaskColumn, at_recipe
from .load import RECIPE
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
BEFORE = "not trained"
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
class Ratings:
    """What one judge gave to the answers of each row, by one set of questions in one wording."""

    name: str
    model: str
    config: Any  # JudgeConfig of any of the judgements
    scores: dict[str, MeanStd]  # label of a row, or `BEFORE` -> over the runs, each with its mean rating
    parts: dict[str, dict[str, float]]  # the same -> "turn 1", "math", ... -> mean
    unrated: dict[str, tuple[int, int]]  # the same -> answers without a rating, answers in all


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


def find_ratings(group: Group, judgements: Iterable[Judgement]) -> list[Ratings]:
    """Finds for each way of judging what it gave to the rows, and to the checkpoint that they start from."""
    by_column: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.result.score is not None:
            config = judgement.config
            alike = config.model_dump_json(exclude={"kind", "answers", "run", "questions", "prompts"})
            by_column[f"{alike}{config.answers.max_new_tokens}"].append(judgement)
    found = []
    for _, own in sorted(by_column.items()):
        judged = {row.label: [j for j in own if j.config.run in set(row.runs["id"])] for row in group.rows}
        start = group.first["checkpoint"]
        judged[BEFORE] = [j for j in own if j.config.run is None and j.config.answers.checkpoint == start]
        judged = {label: of_row for label, of_row in judged.items() if of_row}
        if judged:
            found.append(_ratings(own[0].config, judged))
    names = [ratings.model for ratings in found]
    return [
        replace(each, name=f"{each.model} ({names[: place + 1].count(each.model)})")
        if names.count(each.model) > 1
        else each
        for place, each in enumerate(found)
    ]


def _ratings(config: Any, judged: dict[str, list[Judgement]]) -> Ratings:
    scores, parts, unrated = {}, {}, {}
    for label, own in judged.items():
        by_run: dict[str | None, list[float]] = defaultdict(list)  # answers with other seeds count once
        of_parts: dict[str, list[float]] = defaultdict(list)
        for judgement in own:
            result = judgement.result
            by_run[judgement.config.run].append(float(result.score or 0.0))
            for name, mean in {
                **{f"turn {t}": m for t, m in result.turns.items()},
                **result.categories,
            }.items():
                of_parts[name].append(mean)
        scores[label] = MeanStd.over(map(fmean, by_run.values()))
        parts[label] = {name: fmean(values) for name, values in of_parts.items()}
        without = sum(j.result.unrated for j in own)
        unrated[label] = (without, without + sum(j.result.rated for j in own))
    return Ratings(config.judge_model, config.judge_model, config, scores, parts, unrated)


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


def long_form(made: Sequence[GroupTable], ablations: Sequence[GroupTable]) -> pd.DataFrame:
    """Returns every number of the tables in long form, one line a cell and metric.

    `kind` is "score" (a mean over the seeds of one method, setting and recipe; `chosen` are those of the
    tables), "average", "cost" or "difference" (of `method` less `other`, with its interval). Scores are as
    the metric gives them, bytes are bytes.
    """
    lines: list[dict[str, Any]] = []
    for each in made:
        shared = _shared(each.group)
        for row in each.group.all_rows:
            of_row = {**shared, "method": row.method, "settings": row.suffix}
            lines += [{**of_row, **line} for line in _score_lines(each, row)]
        for row in each.rows:
            of_row = {**shared, "method": row.method, "settings": row.suffix, "task": "all"}
            for name, score in (("average", task_score), ("average of main metrics", main_score)):
                if found := average(row, each.group.average_over, score):
                    lines.append({**of_row, "kind": "average", "metric": name, **vars(found)})
            costs = vars(each.costs[row.label])
            for name, value in costs.items():
                if value is not None and name != "runs":
                    cost = {"kind": "cost", "metric": name, "mean": value, "n": costs["runs"]}
                    lines.append({**of_row, **cost})
    for each in (*made, *ablations):
        for compared in each.significance.comparisons:
            lines.append({**_shared(each.group), **_difference_line(each, compared)})
    return pd.DataFrame(lines, columns=CSV_COLUMNS, dtype=object)


CSV_COLUMNS = [
    *("model", "checkpoint", "protocol", "freeze_rest", "device", "precision", "data", "differs", "kind"),
    *("method", "settings", "other", "task", "completeness", "data_revision", "metric", "main", "chosen"),
    *("n", "mean", "std", "low", "high", "p", "p_holm", "aso", "seeds", "collapsed", "majority"),
    *(*RECIPE, "hyperparameters_from"),
]


def _shared(group: Group) -> dict[str, Any]:
    names = ("model", "checkpoint", "protocol", "freeze_rest", "device", "precision")
    return {
        **{name: group.first[name] for name in names},
        "data": group.kind,
        "differs": ", ".join(group.differs),
    }


def _score_lines(made: GroupTable, row: Row) -> Iterable[dict[str, Any]]:
    for column in made.columns:
        for recipe, runs in column.of(row.everything).groupby(list(RECIPE), dropna=False, sort=True):
            values = tuple(None if pd.isna(value) else value for value in recipe)
            common = {
                **{"kind": "score", "task": column.task, "completeness": column.completeness},
                **{"data_revision": column.data_revision, "majority": column.majority},
                **dict(zip(RECIPE, values, strict=True)),
                "chosen": row.choices[column.name].recipe == values,
                "seeds": " ".join(str(seed) for seed in sorted(runs["seed"])),
                "collapsed": int(runs["single_class"].sum()),
                "hyperparameters_from": "; ".join(sorted(set(runs["hyperparameters_from"]))),
            }
            for metric in column.metrics:
                if found := known(metrics.get(metric) for metrics in runs["metrics"]):
                    main = metric == column.score_name
                    yield {**common, "metric": metric, "main": main, **vars(MeanStd.over(found))}


def _difference_line(made: GroupTable, each: Comparison) -> dict[str, Any]:
    of_task = {column.name: column for column in made.columns}.get(each.task)
    numbers = {name: getattr(each, name) for name in ("std", "low", "high", "p", "p_holm", "aso")}
    subject, other = (next(row for row in made.rows if row.label == n) for n in (each.subject, each.other))
    return {
        **{"kind": "difference", "method": subject.method, "settings": subject.suffix, "other": other.label},
        **{"task": of_task.task if of_task else "all", "mean": each.difference, "n": len(each.seeds)},
        **{"metric": of_task.score_name if of_task else "average"},
        **{"data_revision": of_task.data_revision if of_task else None, **numbers},
        "seeds": " ".join(map(str, each.seeds)),
    }


def is_loss(made: GroupTable) -> bool:
    return made.columns[0].score_name == LOSS
