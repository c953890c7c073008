"""A whole report: chapters of sections, the same for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .section import Section
from .table import Table


@dataclass(frozen=True)
class Chapter:
    """Sections of one kind."""

    title: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Document:
    """What a renderer draws."""

    chapters: Sequence[Chapter]
    notes: Sequence[str]  # on the whole, at the end
    tables: Sequence[Table]  # the numbers of those that are of runs
