"""The report as files: Markdown for people, CSV in long form for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from .layout import Part, cost_parts, left_out_words, legend, score_parts
from .table import Table

CSV_COLUMNS = [
    *("model", "checkpoint", "protocol", "device", "precision", "data", "method", "settings"),
    *("task", "completeness", "data_revision", "metric", "main", "n", "mean", "std"),
    *("seeds", "collapsed", "majority", "learning_rate", "batch_size", "hyperparameters_from"),
]


def to_markdown(tables: Sequence[Table], left_out: dict[str, int], others: Sequence[str] = ()) -> str:
    """Every table with its reading and caption, other sections, a line on runs that are in none."""
    lines = ["# Results", ""]
    for table in tables:
        lines += [f"## {escaped(table.title)}", ""]
        labels = Part(["method"], [[row.label] for row in table.rows])
        scores, costs = score_parts(table), cost_parts(table)
        for parts in [[*scores, *costs]] if len(table.columns) == 1 else [scores, costs]:
            lines += [*grid_lines([labels, *parts]), ""]
        lines += [f"{escaped(line)}\n" for line in table.reading]
        lines += [f"- {name}: {escaped(text)}" for name, text in table.caption.items()]
        lines += [f"- legend: {escaped(legend(table))}", ""]
    lines += others
    if not tables and not others:
        lines += ["No finished run.", ""]
    if left_out:
        lines += [left_out_words(left_out), ""]
    return "\n".join(lines)


def grid_lines(parts: Sequence[Part]) -> Iterator[str]:
    """A Markdown table; the first part is the rows' labels."""
    yield _line([_head(part) for part in parts])
    yield "|" + " --- |" + "".join(" --- |" if part.left else " ---: |" for part in parts[1:])
    for cells in zip(*(part.cells for part in parts), strict=True):
        yield _line([" / ".join(cell) for cell in cells])


def _head(part: Part) -> str:
    lines = [" ".join(part.head), " / ".join(part.metrics), *part.notes]
    return "<br>".join(line for line in lines if line)


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(text) for text in texts) + " |"


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


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
        for name, value in row.cost.model_dump(exclude={"runs"}, exclude_none=True).items():
            yield {**of_row, "task": "all", "metric": name, "n": row.cost.runs, "mean": value}
