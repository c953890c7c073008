"""A report as one HTML page that needs nothing but itself: no network, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import jinja2

from ..table import Chapter, Figure, sort_value

TEMPLATES = Path(__file__).with_name("templates")


def to_html(chapters: Sequence[Chapter], notes: Sequence[str]) -> str:
    """Returns the text of the page; its pictures are in it.

    Every text is escaped, and the page forbids the browser to reach the network or to run another script.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {"picture": _picture, "sort_value": sort_value}
    style, script = ((TEMPLATES / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    policy = f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}"
    page = environment.get_template("report.html.j2")
    return page.render(chapters=chapters, notes=notes, policy=policy, style=style, script=script)


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _picture(figure: Figure) -> str:
    return f"data:image/png;base64,{b64encode(figure.path.read_bytes()).decode()}"
