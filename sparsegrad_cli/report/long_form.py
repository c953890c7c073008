"""Every number of the tables of runs in long form, one line a cell and metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from .comparable import Row, at_recipe
from .load import RECIPE
from .run_tables import GroupTable, average, main_score, task_score
from .table import MeanStd, known

OF_GROUP = ("model", "checkpoint", "protocol", "freeze_rest", "device", "precision")
CSV_COLUMNS = [
    *(*OF_GROUP, "data", "differs", "kind", "method", "settings", "other", "task", "completeness"),
    *("data_revision", "metric", "main", "chosen", "n", "mean", "std", "low", "high", "p", "p_holm", "aso"),
    *("seeds", "collapsed", "majority", *RECIPE, "hyperparameters_from"),
]


def long_form(made: Sequence[GroupTable], ablations: Sequence[GroupTable]) -> pd.DataFrame:
    """Returns every number of the tables in long form, one line a cell and metric.

    `kind` is "score" (a mean over the seeds of one method, setting and recipe; `chosen` are those of the
    tables), "average", "cost" or "difference" (of `method` less `other`, with its interval). Scores are as
    the metric gives them, bytes are bytes.
    """
    lines: list[dict[str, Any]] = []
    for place, each in enumerate((*made, *ablations)):
        parts = [_differences(each)]
        if place < len(made):
            parts = [*(_scores(each, row) for row in each.group.all_rows), _averages_and_costs(each), *parts]
        shared = {name: each.group.first[name] for name in OF_GROUP}
        shared |= {"data": each.group.kind, "differs": ", ".join(each.group.differs)}
        lines += [{**shared, **line} for part in parts for line in part]
    return pd.DataFrame(lines, columns=CSV_COLUMNS, dtype=object)


def _scores(made: GroupTable, row: Row) -> Iterator[dict[str, Any]]:
    for column in made.columns:
        here = column.of(row.everything)
        for recipe in sorted(set(here["recipe"]), key=str):
            runs = at_recipe(here, recipe)
            common = {
                **{"kind": "score", "method": row.method, "settings": row.suffix, "task": column.task},
                **{name: getattr(column, name) for name in ("completeness", "data_revision", "majority")},
                **dict(zip(RECIPE, recipe, strict=True)),
                "chosen": row.choices[column.name].recipe == recipe,
                "seeds": " ".join(map(str, sorted(runs["seed"]))),
                "collapsed": int(runs["single_class"].sum()),
                "hyperparameters_from": "; ".join(sorted(set(runs["hyperparameters_from"]))),
            }
            for metric in column.metrics:
                if found := known(metrics.get(metric) for metrics in runs["metrics"]):
                    is_main = metric == column.score_name
                    yield {**common, "metric": metric, "main": is_main, **vars(MeanStd.over(found))}


def _averages_and_costs(made: GroupTable) -> Iterator[dict[str, Any]]:
    for row in made.rows:
        common = {"method": row.method, "settings": row.suffix, "task": "all"}
        for name, score in (("average", task_score), ("average of main metrics", main_score)):
            if found := average(row, made.group.average_over, score):
                yield {**common, "kind": "average", "metric": name, **vars(found)}
        costs = vars(made.costs[row.label])
        for name, value in costs.items():
            if value is not None and name != "runs":
                yield {**common, "kind": "cost", "metric": name, "mean": value, "n": costs["runs"]}


def _differences(made: GroupTable) -> Iterator[dict[str, Any]]:
    columns = {column.name: column for column in made.columns}
    rows = {row.label: row for row in made.rows}
    for each in made.significance.comparisons:
        subject, of_task = rows[each.subject], columns.get(each.task)
        yield {
            **{"kind": "difference", "method": subject.method, "settings": subject.suffix},
            **{"other": each.other, "task": of_task.task if of_task else "all", "mean": each.difference},
            **{"n": len(each.seeds), "metric": of_task.score_name if of_task else "average"},
            **{"data_revision": of_task.data_revision if of_task else None},
            **{name: getattr(each, name) for name in ("std", "low", "high", "p", "p_holm", "aso")},
            "seeds": " ".join(map(str, each.seeds)),
        }
