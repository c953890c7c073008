"""Every number of the tables of runs in long form, one line a cell and metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from .comparable import Group, Row
from .load import RECIPE
from .run_tables import GroupTable, average, main_score, task_score
from .significance import Comparison
from .table import (
    MeanStd,
    known,
)


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
