"""Sections for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..layout import GAP, Part, blocks, filled_rows
from ..section import Section

NARROWEST, WIDEST = 40, 100  # of running text, in characters


def print_section(console: Console, shown: Section) -> None:
    """Tables, notes and caption; what is too wide for the console is broken in blocks."""
    width = min(max(console.width, NARROWEST), WIDEST)
    console.print(Text(shown.title, style="bold"), soft_wrap=True)
    for labels, *parts in shown.grids:
        for block in blocks(parts, console.width - labels.width):
            console.print()
            console.print(grid(filled_rows([labels, *block])), crop=False)
    console.print()
    for note in shown.notes:
        console.print(Text(textwrap.fill(note, width)), soft_wrap=True)
    if shown.notes and shown.caption:
        console.print()
    for line in caption_lines(shown.caption, width):
        console.print(Text(line, style="dim"), soft_wrap=True)


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
    margin = max(map(len, named), default=0) + GAP
    lines = []
    for name, text in named.items():
        first = name.ljust(margin)
        lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * margin)
    return lines
