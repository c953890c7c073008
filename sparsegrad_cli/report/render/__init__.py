"""The formats of a report: Markdown, HTML, LaTeX (`latex.py`) over templates, and CSV."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd

from ...errors import InputError, unknown
from ..table import Chapter, Figure, Section, Table, sort_value
from .latex import to_latex

TEMPLATES = Path(__file__).with_name("templates")
DEFAULT_FORMATS = ("md", "csv")
# what would begin a tag, a cell, code, emphasis or a link anywhere in a line of Markdown
SPECIAL = re.compile(r"[\\`*|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|&(?=[#\w]+;)")
AT_START = re.compile(r"^(\d+)(?=[.)]\s)|^(?=[-+>#=~]|!\[)")  # what would begin a list, quote or heading
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


@dataclass(frozen=True)
class Document:
    """What a format draws."""

    chapters: Sequence[Chapter]
    notes: Sequence[str]  # on the whole, at the end
    numbers: pd.DataFrame  # every number of the runs in long form


@dataclass(frozen=True)
class Format:
    """How a document is drawn."""

    file: str
    text: Callable[[Document, Path], str]  # of a document and the folder that the file goes to
    figures: bool = True  # whether it shows any


FORMATS = {
    "md": Format("report.md", lambda made, folder: to_markdown(made.chapters, made.notes, folder)),
    "latex": Format("report.tex", lambda made, folder: to_latex(made.chapters, made.notes, folder)),
    "html": Format("report.html", lambda made, _: to_html(made.chapters, made.notes)),
    "csv": Format("report.csv", lambda made, _: to_csv(made.numbers), figures=False),
}


def read_formats(given: Sequence[str]) -> tuple[str, ...]:
    """Returns the formats that `md,latex` and such name, each once.

    Raises:
        InputError: there is no such format.
    """
    names = [name.strip() for names in given for name in names.split(",")]
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format: {unknown('format', name, FORMATS)}")
    return tuple(dict.fromkeys(names))


def to_csv(numbers: pd.DataFrame) -> str:
    """Returns a frame as CSV; a text that a spreadsheet would run as a formula gets an apostrophe."""

    def plain(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    return numbers.map(plain).to_csv(index=False)


def to_html(chapters: Sequence[Chapter], notes: Sequence[str]) -> str:
    """Returns a page that needs nothing but itself; its pictures are in it.

    Every text is escaped, and the page forbids the browser to reach the network or to run another script.
    """
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, autoescape=True)

    def picture(figure: Figure) -> str:
        return f"data:image/png;base64,{b64encode(figure.path.read_bytes()).decode()}"

    def source(text: str) -> str:
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    environment.filters |= {"picture": picture, "sort_value": sort_value}
    style, script = ((TEMPLATES / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    policy = f"default-src 'none'; img-src data:; style-src {source(style)}; script-src {source(script)}"
    page = environment.get_template("report.html.j2")
    return page.render(chapters=chapters, notes=notes, policy=policy, style=style, script=script)


def to_markdown(chapters: Sequence[Chapter], notes: Sequence[str], folder: Path) -> str:
    """Returns the text of a file in `folder`, from where its pictures are found."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
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

    def source(figure: Figure) -> str:
        return quote(Path(os.path.relpath(figure.path.resolve(), folder.resolve())).as_posix())

    environment.filters |= {"md": escape, "grid": markdown_table, "below": below}
    return environment.get_template("report.md.j2").render(chapters=chapters, notes=notes)


def escape(text: str) -> str:
    """Returns a text in one line that Markdown shows as it is."""
    line = " ".join(str(text).split())
    line = SPECIAL.sub(lambda found: "&amp;" if found[0] == "&" else f"\\{found[0]}", line)
    return AT_START.sub(lambda found: f"{found[1] or ''}\\", line.replace("<", "&lt;"))


def markdown_table(table: Table) -> str:
    """Returns a table as lines; the first column is the rows' labels."""

    def cell(text: str) -> str:
        """A text where nothing begins a line."""
        return escape(f"x{text}")[1:]

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |"

    heads = [[" ".join(column.head.split("\n")), column.note] for column in table.columns]
    sides = ["---" if place == 0 or c.left else "---:" for place, c in enumerate(table.columns)]
    rows = [line([cell(text) for text in row]) for row in table.rows]
    return "\n".join(
        [line(["<br>".join(map(cell, filter(None, head))) for head in heads]), line(sides), *rows]
    )
