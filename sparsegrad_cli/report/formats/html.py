"""A document as one HTML page that needs nothing but itself: no network, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from pathlib import Path

from ..document import Chapter, Document
from ..section import Figure, Section
from .html_table import table_html

STYLE, SCRIPT = (
    Path(__file__).with_name(f"html.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
)


def to_html(document: Document, folder: Path) -> str:
    """The text of the page; its pictures are in it, wherever `folder` is."""
    return "\n".join(_page(document))


def _page(document: Document) -> Iterator[str]:
    # the browser itself keeps the page from the network, and runs no script but this one
    policy = f"default-src 'none'; img-src data:; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<title>sparsegrad report</title>"
    yield f"<style>{STYLE}</style>\n</head>\n<body>"
    yield '<nav aria-label="Contents">\n<p>sparsegrad report</p>'
    for number, chapter in enumerate(document.chapters, 1):
        yield from _contents(chapter, number)
    yield "</nav>\n<main>"
    for number, chapter in enumerate(document.chapters, 1):
        yield f'<h1 id="s{number}">{escape(chapter.title)}</h1>'
        for place, section in enumerate(chapter.sections, 1):
            yield from _section(section, f"s{number}-{place}")
    yield from (f"<p>{escape(note)}</p>" for note in document.notes)
    yield f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _contents(chapter: Chapter, number: int) -> Iterator[str]:
    yield f'<a href="#s{number}">{escape(chapter.title)}</a>\n<ul>'
    for place, section in enumerate(chapter.sections, 1):
        yield f'<li><a href="#s{number}-{place}">{escape(section.title)}</a></li>'
    yield "</ul>"


def _section(shown: Section, name: str) -> Iterator[str]:
    yield f'<section>\n<h2 id="{name}">{escape(shown.title)}</h2>'
    yield from (table_html(parts, shown.title) for parts in shown.grids)
    yield from map(_figure, shown.figures)
    yield from (f"<p>{escape(note)}</p>" for note in shown.notes)
    if shown.caption:
        yield "<details open>\n<summary>About these numbers</summary>\n<dl>"
        yield from (f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in shown.caption.items())
        yield "</dl>\n</details>"
    yield "</section>"


def _figure(figure: Figure) -> str:
    picture = b64encode(figure.path.read_bytes()).decode()
    words = escape(figure.words)
    image = f'<img src="data:image/png;base64,{picture}" alt="{words}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"
