"""A document as Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from ..document import Document
from ..layout import Part, label_text
from ..section import Section


def to_markdown(document: Document, folder: Path) -> str:
    """The text of a file in `folder`, from where its pictures are found."""
    lines = []
    for chapter in document.chapters:
        lines += [f"# {chapter.title}", ""]
        lines += [section_markdown(section, folder) for section in chapter.sections]
    lines += [f"{escaped(note)}\n" for note in document.notes]
    return "\n".join(lines)


def section_markdown(shown: Section, folder: Path) -> str:
    """Title, tables, pictures, notes and caption."""
    lines = [f"## {escaped(shown.title)}", ""]
    for parts in shown.grids:
        lines += [*_grid_lines(parts), ""]
    for figure in shown.figures:
        path = os.path.relpath(figure.path.resolve(), folder.resolve())
        lines += [f"![{escaped(figure.words)}]({quote(path)})", ""]
    lines += [f"{escaped(note)}\n" for note in shown.notes]
    lines += [f"- {name}: {escaped(text)}" for name, text in shown.caption.items()]
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """In one line, with what would end a cell or begin a tag as the character that it is."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _grid_lines(parts: Sequence[Part]) -> Iterator[str]:
    """The first part is the rows' labels."""
    yield _line([_head(part) for part in parts])
    yield "|" + " --- |" + "".join(" --- |" if part.left else " ---: |" for part in parts[1:])
    for label, *cells in zip(*(part.cells for part in parts), strict=True):
        yield _line([escaped(label_text(label)), *(escaped(" / ".join(cell)) for cell in cells)])


def _head(part: Part) -> str:
    lines = [" ".join(part.head), " / ".join(part.metrics), *part.notes]
    return "<br>".join(escaped(line) for line in lines if line)


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"
