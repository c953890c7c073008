"""A table of runs as a section: scores, costs, the numbers read out, the caption."""

from __future__ import annotations

import math

from .layout import GAP, Part
from .numbers import (
    COLLAPSED,
    amount,
    amount_and_share,
    cell_lines,
    megabytes,
    metric_words,
    notes,
    speed,
    spread_words,
)
from .section import Section
from .table import Row, Table

IN_MLPS = (
    "in MLPs: entries of the MLP linears (lora: its A and B) trained in a step, and at least once in a run"
)


def table_section(table: Table, width: float = math.inf) -> Section:
    """The section of a table; that of a single task has its costs beside the scores.

    Args:
        width: characters that there are, so that costs stand below where they would not fit.
    """
    labels = Part(["method"], [label_lines(row) for row in table.rows])
    scores, costs = score_parts(table), cost_parts(table)
    together = [labels, *scores, *costs]
    fits = sum(part.width for part in together) + GAP * (len(together) - 1) <= width
    beside = fits and len(table.columns) == 1
    return Section(
        title=table.title,
        grids=[together] if beside else [[labels, *scores], [labels, *costs]],
        notes=list(table.reading),
        caption={**table.caption, "legend": legend(table)},
    )


def score_parts(table: Table) -> list[Part]:
    """A part for each task and, where there are several, one for the average."""
    count = not table.same_seeds
    parts = [
        Part(
            head=[column.task],
            cells=[cell_lines(row.cells[place], column, count) for row in table.rows],
            metrics=[metric_words(metric) for metric in column.metrics],
            notes=notes(column),
        )
        for place, column in enumerate(table.columns)
    ]
    if table.averages:
        cells = [[spread_words(row.average, count)] for row in table.rows]
        parts.append(Part(["average"], cells))
    return parts


def cost_parts(table: Table) -> list[Part]:
    """Speed, memory and the numbers of trained parameters."""
    costs = [row.cost for row in table.rows]
    columns = {
        ("steps/s",): [speed(cost.steps_per_second) for cost in costs],
        ("peak", "MB"): [megabytes(cost.peak_memory_bytes) for cost in costs],
        ("trained", "in all"): [amount(cost.trainable) for cost in costs],
        ("in MLPs,", "a step"): [amount_and_share(cost.adapted, cost.adapted_share) for cost in costs],
        ("in MLPs,", "ever"): [amount_and_share(cost.touched, cost.touched_share) for cost in costs],
        ("head",): [amount(cost.head) for cost in costs],
    }
    return [Part(list(head), [[text] for text in texts]) for head, texts in columns.items()]


def label_lines(row: Row) -> list[str]:
    """The method, and the settings that tell the row from others."""
    return [row.method, *(row.suffix.split(", ") if row.suffix else [])]


def legend(table: Table) -> str:
    """What the marks and short heads mean, of those that the table has."""
    lines = []
    if any(row.collapsed for row in table.rows):
        lines.append(f"{COLLAPSED} a run gave every example the same label")
    if table.averages:
        out = [column.task for column in table.columns if not column.in_average]
        without = f"; without {', '.join(out)}" if out else ""
        lines.append(f"average: as GLUE's, a task with several metrics counts with their mean{without}")
    lines.append(IN_MLPS)
    return "; ".join(lines)
