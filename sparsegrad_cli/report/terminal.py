"""Tables for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from .layout import Part, cost_parts, label_lines, legend, score_parts
from .table import Table

GAP = 2  # spaces between columns
NARROWEST, WIDEST = 40, 100  # of running text, in characters


def print_table(console: Console, table: Table) -> None:
    """Scores, costs, the reading and the caption; what is too wide for the console is broken in blocks."""
    labels = Part(["method"], [label_lines(row) for row in table.rows])
    scores, costs = score_parts(table), cost_parts(table)
    together = [*scores, *costs]
    fits = labels.width + sum(GAP + part.width for part in together) <= console.width
    console.print(Text(table.title, style="bold"), soft_wrap=True)
    for parts in [together] if fits and len(table.columns) == 1 else [scores, costs]:
        for block in blocks(parts, console.width - labels.width):
            console.print()
            console.print(grid([labels, *block]), crop=False)
    width = min(max(console.width, NARROWEST), WIDEST)
    console.print()
    for text in table.reading:
        console.print(Text(textwrap.fill(text, width)), soft_wrap=True)
    console.print()
    for line in caption_lines({**table.caption, "legend": legend(table)}, width):
        console.print(Text(line, style="dim"), soft_wrap=True)


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


def grid(parts: Sequence[Part]) -> Grid:
    """The parts side by side; the first is the rows' labels."""
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    drawn = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="", width=width)
    height = max(len([*part.head, *part.metrics, *part.notes]) for part in parts)
    for place, part in enumerate(parts):
        lines = [Text(line, style="bold") for line in part.head]
        lines += [Text(line) for line in part.metrics]
        lines += [Text(line, style="yellow") for line in part.notes]
        lines += [Text()] * (height - len(lines))
        rule = Text("─" * part.width, style="dim")
        justify = "right" if place and not part.left else "left"
        drawn.add_column(Text("\n").join([*lines, rule]), justify=justify, no_wrap=True, width=part.width)
    for cells in zip(*(part.cells for part in parts), strict=True):
        drawn.add_row(*(Text("\n".join(lines)) for lines in cells))
    return drawn


def caption_lines(named: dict[str, str], width: int) -> list[str]:
    """Each text after its name, wrapped, in two columns."""
    margin = max(map(len, named)) + GAP
    lines = []
    for name, text in named.items():
        first = name.ljust(margin)
        lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * margin)
    return lines
