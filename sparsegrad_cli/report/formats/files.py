"""The formats of a report, and the file that each is written to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, unknown
from ..document import Document
from .html import to_html
from .latex import to_latex
from .long_form import to_csv
from .markdown import to_markdown


@dataclass(frozen=True)
class Format:
    """How a document is drawn."""

    file: str
    text: Callable[[Document, Path], str]  # of a document and the folder that the file goes to
    figures: bool = True  # whether it shows any


FORMATS = {
    "md": Format("report.md", to_markdown),
    "latex": Format("report.tex", to_latex),
    "html": Format("report.html", to_html),
    "csv": Format("report.csv", lambda document, _: to_csv(document.tables), figures=False),
}
DEFAULT_FORMATS = ("md", "csv")


def read_formats(given: Sequence[str]) -> tuple[str, ...]:
    """The formats that `md,latex` and such name, each once.

    Raises:
        InputError: there is no such format.
    """
    names = [name.strip() for names in given for name in names.split(",")]
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format: {unknown('format', name, FORMATS)}")
    return tuple(dict.fromkeys(names))
