"""What every part of a report comes to, whatever it is of and however it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .layout import Part


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows, in words."""

    words: str
    path: Path  # a PNG


@dataclass(frozen=True)
class Section:
    """Tables, each of parts of which the first is the rows' labels, and what stands around them."""

    title: str
    grids: list[list[Part]]
    notes: list[str]
    caption: dict[str, str]
    figures: Sequence[Figure] = ()
    nothing_of_ours: bool = False  # the paper's numbers alone: the terminal names it and does not draw it
