"""From the frame of runs to tables that mix nothing that must not be mixed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..tasks import get_task, task_names
from .caption import caption, title
from .reading import reading
from .rows import RowRuns, split_rows
from .table import Cell, Column, Cost, Row, Spread, Table

KINDS = {"complete": "GLUE", "partial": "GLUE", "custom": "own", "synthetic": "synthetic"}
TABLE = ["model", "kind", "checkpoint", "protocol", "freeze_rest", "device", "precision"]
COLUMN = ["task", "data_revision", "score_name"]  # equal examples and metric: one column


def build_tables(done: pd.DataFrame) -> tuple[Table, ...]:
    """One table for each model, checkpoint, protocol, device, precision, kind of data and what is frozen.

    Args:
        done: finished runs, as `read_runs` has them, each once.
    """
    return tuple(build_table(kind, runs) for (_, kind, *_), runs in split_tables(done))


def split_tables(done: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """The runs of each table, after the values of `TABLE` that they share."""
    if done.empty:
        return []
    return list(done.assign(kind=done["completeness"].map(KINDS)).groupby(TABLE, sort=True))


def build_table(kind: str, runs: pd.DataFrame) -> Table:
    """The table of runs that may be compared.

    Args:
        kind: of the data, as in `Table`.
    """
    first = runs.iloc[0]
    columns = columns_of(runs)
    rows_runs = split_rows(runs)
    shared, cost_note = _shared_columns(columns, rows_runs)
    costs = _with_shares([(row, _cost(row.runs, shared)) for row in rows_runs])
    rows = tuple(_row(row, columns, cost) for row, cost in zip(rows_runs, costs, strict=True))
    return Table(
        title=title(runs, kind, columns),
        **first[["model", "checkpoint", "protocol", "freeze_rest", "device", "precision"]],
        data=kind,
        columns=columns,
        rows=rows,
        caption=caption(runs, columns, rows, cost_note),
        reading=reading(rows, columns),
    )


def columns_of(runs: pd.DataFrame) -> tuple[Column, ...]:
    """The tasks of a table, in GLUE's order; of other examples or another metric, another column."""
    order = task_names()
    columns = [_column(*key, part) for key, part in runs.groupby(COLUMN, sort=False)]
    columns.sort(
        key=lambda c: (order.index(c.task) if c.task in order else len(order), c.task, c.data_revision)
    )
    tasks = [column.task for column in columns]
    return tuple(
        c.model_copy(update={"mark": f"data {c.data_revision[:6]}"}) if tasks.count(c.task) > 1 else c
        for c in columns
    )


def _column(task: str, data_revision: str, score_name: str, runs: pd.DataFrame) -> Column:
    known = get_task(task) if task in task_names() else None
    if known and known.score_name == score_name:
        metrics = tuple(f"{metric}{suffix}" for suffix in known.suffixes for metric in known.metrics)
    else:
        metrics = tuple(dict.fromkeys([score_name, *(name for found in runs["metrics"] for name in found)]))
    first = runs.iloc[0]
    return Column(
        task=task,
        score_name=score_name,
        metrics=metrics,
        data_revision=data_revision,
        origins=tuple(sorted(set(runs["origin"]))),
        completeness=first["completeness"],
        rows=first["rows"],
        official_rows=known.rows if known else None,
        majority=known.majority if known else None,
        in_average=known.in_average if known else True,
    )


def of_column(column: Column, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that stand in a column."""
    key = (column.task, column.data_revision, column.score_name)
    return runs[(runs[COLUMN] == key).all(axis=1)]


def _row(row: RowRuns, columns: tuple[Column, ...], cost: Cost) -> Row:
    cells = tuple(_cell(column, of_column(column, row.runs)) for column in columns)
    return Row(
        method=row.method,
        suffix=row.suffix,
        cells=cells,
        average=_average(row, columns, cells, _task_scores),
        main_average=_average(row, columns, cells, _main_scores),
        cost=cost,
    )


def _cell(column: Column, runs: pd.DataFrame) -> Cell | None:
    if runs.empty:
        return None
    found = {metric: [m[metric] for m in runs["metrics"] if metric in m] for metric in column.metrics}
    return Cell(
        scores={metric: Spread.over(values) for metric, values in found.items() if values},
        seeds=tuple(sorted(runs["seed"])),
        collapsed=int(runs["single_class"].sum()),
        learning_rate=runs["learning_rate"].iloc[0],
        batch_size=runs["batch_size"].iloc[0],
        hyperparameters_from=tuple(sorted(set(runs["hyperparameters_from"]))),
    )


def _main_scores(runs: pd.DataFrame, column: Column) -> list[float]:
    """The main metric of each run."""
    return list(runs["score"])


def _task_scores(runs: pd.DataFrame, column: Column) -> list[float]:
    """GLUE's score of a task for each run: the plain mean of the metrics that it has."""
    found = [[metrics[name] for name in column.metrics if name in metrics] for metrics in runs["metrics"]]
    return [sum(values) / len(values) for values in found]


def _average(
    row: RowRuns,
    columns: tuple[Column, ...],
    cells: tuple[Cell | None, ...],
    scores: Callable[[pd.DataFrame, Column], list[float]],
) -> Spread | None:
    """Over tasks, of a row that has them all; its spread is over the seeds that have them all."""
    counted = [(column, cell) for column, cell in zip(columns, cells, strict=True) if column.in_average]
    repeated = len({column.task for column, _ in counted}) < len(counted)
    if len(counted) < 2 or repeated or not all(cell for _, cell in counted):
        return None
    of_tasks = [(column, of_column(column, row.runs)) for column, _ in counted]
    by_seed = pd.DataFrame(
        {
            column.task: pd.Series(scores(runs, column), index=runs["seed"], dtype=float)
            for column, runs in of_tasks
        }
    )
    of_seeds = by_seed.dropna().mean(axis=1)
    spread = of_seeds.std(ddof=1) if len(of_seeds) > 1 else None
    return Spread(mean=by_seed.mean().mean(), std=spread, n=len(of_seeds))


def _shared_columns(columns: tuple[Column, ...], rows: list[RowRuns]) -> tuple[list[Column], str]:
    """The tasks that costs are compared on, and a note where these are not simply all."""
    shared = [column for column in columns if all(not of_column(column, row.runs).empty for row in rows)]
    if len(shared) == len(columns):
        return shared, ""
    if shared:
        return shared, f", over the tasks that every row has: {', '.join(column.task for column in shared)}"
    return list(columns), ", whose tasks differ between rows: not to be compared"


def _cost(runs: pd.DataFrame, columns: list[Column]) -> Cost:
    counted = pd.concat([of_column(column, runs) for column in columns])

    def mean(name: str) -> float | None:
        values = counted[name].dropna().astype(float) if name in counted else pd.Series(dtype=float)
        return None if values.empty else values.mean()

    names = ("steps_per_second", "peak_memory_bytes", "trainable", "adapted", "head", "touched")
    return Cost(runs=len(counted), **{name: mean(name) for name in names})


def _with_shares(costs: list[tuple[RowRuns, Cost]]) -> list[Cost]:
    """Adds what part of the MLP entries a step trains, for methods that keep some of the entries only."""
    entries = next((cost.adapted for row, cost in costs if row.method == "ft"), None)
    done = []
    for row, cost in costs:
        density, kept = row.runs["density"].iloc[0], row.runs["kept"].iloc[0]
        share = density
        if kept is not None and entries and cost.adapted:
            share = cost.adapted / entries
        if share is not None and cost.adapted:
            touched = None if cost.touched is None else share * cost.touched / cost.adapted
            cost = cost.model_copy(update={"adapted_share": share, "touched_share": touched})
        done.append(cost)
    return done
