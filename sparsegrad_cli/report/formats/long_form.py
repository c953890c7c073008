"""Tables of runs as CSV in long form, for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from ..table import Table

CSV_COLUMNS = [
    *("model", "checkpoint", "protocol", "freeze_rest", "device", "precision", "data", "method", "settings"),
    *("task", "completeness", "data_revision", "metric", "main", "n", "mean", "std"),
    *("seeds", "collapsed", "majority", "learning_rate", "batch_size", "hyperparameters_from"),
]


def to_csv(tables: Sequence[Table]) -> str:
    """One line for each cell and metric; the average and the costs of a row are those of task "all".

    Scores are as the metric gives them (0.574), bytes are bytes.
    """
    lines = [line for table in tables for line in _lines(table)]
    return pd.DataFrame(lines, columns=CSV_COLUMNS, dtype=object).to_csv(index=False)


def _lines(table: Table) -> Iterator[dict[str, object]]:
    shared = table.model_dump(include=set(CSV_COLUMNS))
    for row in table.rows:
        of_row = {**shared, "method": row.method, "settings": row.suffix}
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is None:
                continue
            of_cell = {
                **of_row,
                **column.model_dump(include={"task", "completeness", "data_revision", "majority"}),
                **cell.model_dump(include={"collapsed", "learning_rate", "batch_size"}),
                "seeds": " ".join(map(str, cell.seeds)),
                "hyperparameters_from": "; ".join(cell.hyperparameters_from),
            }
            for metric, spread in cell.scores.items():
                yield {
                    **of_cell,
                    "metric": metric,
                    "main": metric == column.score_name,
                    **spread.model_dump(),
                }
        if row.average:
            yield {**of_row, "task": "all", "metric": "average", **row.average.model_dump()}
        if row.main_average:
            told = {"metric": "average of main metrics", **row.main_average.model_dump()}
            yield {**of_row, "task": "all", **told}
        for name, value in row.cost.model_dump(exclude={"runs"}, exclude_none=True).items():
            yield {**of_row, "task": "all", "metric": name, "n": row.cost.runs, "mean": value}
