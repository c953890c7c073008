"""A report in the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..table import GAP, Section, Table

NARROWEST, WIDEST = 40, 100  # of running text, in characters


def print_section(console: Console, shown: Section, caption: bool = True) -> None:
    """Prints title, sentence, tables and notes; a table too wide for the console is broken in blocks."""
    width = text_width(console)
    if shown.title:
        console.print(Text(shown.title, style="bold"), soft_wrap=True)
    print_text(console, shown.sentence)
    for table in shown.tables:
        console.print()
        print_table(console, table)
    if shown.notes or (caption and shown.caption):
        console.print()
    for note in shown.notes:
        print_text(console, note)
    if caption:
        for line in _caption_lines(shown.caption, width):
            console.print(Text(line, style="dim"), soft_wrap=True)


def print_text(console: Console, text: str, style: str = "") -> None:
    """Prints running text; what looks like markup in it is shown as it is."""
    if text:
        console.print(Text(textwrap.fill(text, text_width(console)), style=style), soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    for place, block in enumerate(table.blocks(console.width)):
        if place:
            console.print()
        console.print(_grid(block), crop=False)


def text_width(console: Console) -> int:
    return min(max(console.width, NARROWEST), WIDEST)


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
        drawn.add_column(
            Text("\n").join([*above, *heads, rule]), justify=side, no_wrap=True, width=column.width
        )
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


def _caption_lines(named: dict[str, str], width: int) -> Sequence[str]:
    """Each text after its name, wrapped, in two columns."""
    margin = max(map(len, named), default=0) + GAP
    lines: list[str] = []
    for name, text in named.items():
        lines += textwrap.wrap(text, width, initial_indent=name.ljust(margin), subsequent_indent=" " * margin)
    return lines
