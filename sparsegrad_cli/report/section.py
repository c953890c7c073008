"""A section of a report that is no table of runs, drawn: for the terminal and as Markdown."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from .files import escaped, grid_lines
from .layout import Part
from .terminal import NARROWEST, WIDEST, blocks, caption_lines, grid


@dataclass(frozen=True)
class Section:
    """Tables, each of parts of which the first is the rows' labels, and what stands around them."""

    title: str
    grids: list[list[Part]]
    notes: list[str]
    caption: dict[str, str]


def print_section(console: Console, shown: Section) -> None:
    """Tables, notes and caption; what is too wide for the console is broken in blocks."""
    width = min(max(console.width, NARROWEST), WIDEST)
    console.print(Text(shown.title, style="bold"), soft_wrap=True)
    for labels, *parts in shown.grids:
        for block in blocks(parts, console.width - labels.width):
            console.print()
            console.print(grid(_filled_rows([labels, *block])), crop=False)
    console.print()
    for note in shown.notes:
        console.print(Text(textwrap.fill(note, width)), soft_wrap=True)
    if shown.notes:
        console.print()
    for line in caption_lines(shown.caption, width):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _filled_rows(parts: list[Part]) -> list[Part]:
    """Without the rows that have nothing but their label."""
    labels, *others = parts
    filled = [any(any(part.cells[row]) for part in others) for row in range(len(labels.cells))]
    return [replace(part, cells=list(compress(part.cells, filled))) for part in parts]


def section_markdown(shown: Section, plot: tuple[str, Path] | None, folder: Path) -> str:
    """The same as Markdown for a file in `folder`.

    Args:
        plot: a picture in words, and where it is; it is left out where there is none.
    """
    lines = [f"## {escaped(shown.title)}", ""]
    for parts in shown.grids:
        lines += [*grid_lines(parts), ""]
    if plot and plot[1].is_file():
        words, path = plot
        lines += [f"![{words}]({os.path.relpath(path.resolve(), folder.resolve())})", ""]
    lines += [f"{escaped(note)}\n" for note in shown.notes]
    lines += [f"- {name}: {escaped(text)}" for name, text in shown.caption.items()]
    return "\n".join([*lines, ""])
