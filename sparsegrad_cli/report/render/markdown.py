"""A report as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2

from ..table import Chapter, Column, Figure, Section, Table

# what would begin a tag, a cell, code, emphasis or a link anywhere in a line
SPECIAL = re.compile(r"[\\`*|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|&(?=[#\w]+;)")
AT_START = re.compile(r"^(\d+)(?=[.)]\s)|^(?=[-+>#=~]|!\[)")  # what would begin a list, quote or heading


def to_markdown(chapters: Sequence[Chapter], notes: Sequence[str], folder: Path) -> str:
    """Returns the text of a file in `folder`, from where its pictures are found."""

    def source(figure: Figure) -> str:
        return quote(Path(os.path.relpath(figure.path.resolve(), folder.resolve())).as_posix())

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # of Markdown: every text goes through `md`
    )

    def below(section: Section) -> str:
        """Figures, notes and caption as one paragraph, with breaks between them."""
        lines = [f"![{escape(figure.words)}]({source(figure)})" for figure in section.figures]
        if section.notes and not section.is_listing:
            lines.append(" ".join(map(escape, section.notes)))
        if section.caption and not section.is_listing:
            named = [f"*{escape(name)}* {escape(text)}" for name, text in section.caption.items()]
            lines.append(f"About these numbers: {'; '.join(named)}.")
        return "\\\n".join(lines) + "\n" if lines else ""

    environment.filters |= {"md": escape, "grid": grid, "below": below}
    return environment.get_template("report.md.j2").render(chapters=chapters, notes=notes)


def escape(text: str) -> str:
    """Returns a text in one line that Markdown shows as it is."""
    line = " ".join(str(text).split())
    line = SPECIAL.sub(lambda found: "&amp;" if found[0] == "&" else f"\\{found[0]}", line).replace(
        "<", "&lt;"
    )
    return AT_START.sub(lambda found: f"{found[1]}\\" if found[1] else "\\", line)


def grid(table: Table) -> str:
    """Returns a table as lines; the first column is the rows' labels."""
    sides = [" ---" if place == 0 or c.left else " ---:" for place, c in enumerate(table.columns)]
    lines = [_line([_head(column) for column in table.columns]), "|" + "".join(f"{side} |" for side in sides)]
    return "\n".join([*lines, *(_line([_cell(cell) for cell in row]) for row in table.rows)])


def _head(column: Column) -> str:
    name = " ".join(column.head.split("\n"))
    return "<br>".join(_cell(line) for line in (name, column.note) if line)


def _cell(text: str) -> str:
    """A text inside a cell, where nothing begins a line."""
    return escape(f"x{text}")[1:] if text else ""


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"
