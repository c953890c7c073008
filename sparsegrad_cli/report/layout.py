"""The columns that every grid is made of, and what of them stands where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

GAP = 2  # spaces between columns


@dataclass(frozen=True)
class Part:
    """One column of texts; a text has one line or several."""

    head: list[str]
    cells: list[list[str]]  # one for each row of the table
    metrics: list[str] = field(default_factory=list)  # more of the head: what each line of a cell is
    notes: list[str] = field(default_factory=list)  # more of the head, that asks for attention
    left: bool = False  # words, which begin at the left, as those of the first part always do
    joined: list[bool] = field(default_factory=list)  # of labels: rows that are to stay under the one above

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        lines = [*self.head, *self.metrics, *self.notes, *(line for cell in self.cells for line in cell)]
        return max(map(len, lines))


def blocks(parts: Sequence[Part], width: int) -> list[list[Part]]:
    """As many columns side by side as fit."""
    made: list[list[Part]] = [[]]
    left = width
    for part in parts:
        if made[-1] and GAP + part.width > left:
            made.append([])
            left = width
        made[-1].append(part)
        left -= GAP + part.width
    return made


def filled_rows(parts: Sequence[Part]) -> list[Part]:
    """Without the rows that have nothing but their label."""
    labels, *others = parts
    filled = [any(any(part.cells[row]) for part in others) for row in range(len(labels.cells))]
    return [
        replace(part, cells=list(compress(part.cells, filled)), joined=list(compress(part.joined, filled)))
        for part in parts
    ]


def label_text(lines: Sequence[str]) -> str:
    """A row's label in one line: `sparsegrad (density 0.02, batch 8)`."""
    name, *settings = lines
    return f"{name} ({', '.join(settings)})" if settings else name
