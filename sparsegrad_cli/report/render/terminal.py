"""A report in the terminal."""

from __future__ import annotations

import textwrap
from typing import Literal

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..table import GAP, Section, Table

NARROWEST, WIDEST = 40, 100  # of running text, in characters


def print_section(console: Console, shown: Section, caption: bool = True) -> None:
    """Prints title, sentence, tables and notes; a table too wide for the console is broken in blocks."""
    if shown.title:
        console.print(Text(shown.title, style="bold"), soft_wrap=True)
    print_text(console, shown.sentence)
    for table in shown.tables:
        for block in table.blocks(console.width):
            console.print()
            console.print(_grid(block), crop=False)
    named = shown.caption if caption else {}
    if shown.notes or named:
        console.print()
    for note in shown.notes:
        print_text(console, note)
    margin = max(map(len, named), default=0) + GAP
    for name, text in named.items():
        print_text(console, name.ljust(margin) + text, "dim", margin)


def print_text(console: Console, text: str, style: str = "", margin: int = 0) -> None:
    """Prints running text; what looks like markup in it is shown as it is.

    Args:
        margin: characters before every line but the first.
    """
    if text:
        width = min(max(console.width, NARROWEST), WIDEST)
        lines = textwrap.fill(text, width, subsequent_indent=" " * margin)
        console.print(Text(lines, style=style), soft_wrap=True)


def _grid(table: Table) -> Grid:
    """The columns side by side; the first is the rows' labels."""
    columns = table.columns
    width = sum(column.width for column in columns) + GAP * (len(columns) - 1)
    drawn = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="", width=width)
    height = max(len(column.head_lines) for column in columns)
    for place, column in enumerate(columns):
        heads = [Text(line, style="bold") for line in column.head.split("\n")]
        heads += [Text(column.note, style="yellow")] * bool(column.note)
        above = [Text()] * (height - len(heads))
        rule = Text("─" * column.width, style="dim")
        side: Literal["left", "right"] = "right" if place and not column.left else "left"
        head = Text("\n").join([*above, *heads, rule])
        drawn.add_column(head, justify=side, no_wrap=True, width=column.width)
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn
