"""The formats of a report, and the file that each is written to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import InputError, unknown
from ..table import Chapter
from .csv import to_csv
from .html import to_html
from .latex import to_latex
from .markdown import to_markdown


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
DEFAULT_FORMATS = ("md", "csv")


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
