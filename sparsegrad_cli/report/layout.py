"""Which texts stand where, the same in the terminal and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field

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
from .table import Row, Table

IN_MLPS = (
    "in MLPs: entries of the MLP linears (lora: its A and B) trained in a step, and at least once in a run"
)


@dataclass(frozen=True)
class Part:
    """One column of texts; a text has one line or several."""

    head: list[str]
    cells: list[list[str]]  # one for each row of the table
    metrics: list[str] = field(default_factory=list)  # more of the head: what each line of a cell is
    notes: list[str] = field(default_factory=list)  # more of the head, that asks for attention
    left: bool = False  # words, which begin at the left, as those of the first part always do

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        lines = [*self.head, *self.metrics, *self.notes, *(line for cell in self.cells for line in cell)]
        return max(map(len, lines))


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
    return [row.method, *(row.suffix.split(", ") if row.suffix else [])]


def legend(table: Table) -> str:
    """What the marks and short heads mean, of those that the table has."""
    lines = []
    if any(row.collapsed for row in table.rows):
        lines.append(f"{COLLAPSED} a run gave every example the same label")
    if table.averages:
        out = [column.task for column in table.columns if not column.in_average]
        without = f"; without {', '.join(out)}" if out else ""
        lines.append(f"average: of the first metric of each task{without}")
    lines.append(IN_MLPS)
    return "; ".join(lines)


def left_out_words(left_out: dict[str, int]) -> str:
    return "left out: " + ", ".join(f"{count} {status}" for status, count in left_out.items())
