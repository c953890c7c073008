"""What a report is made of: numbers as they are shown, columns, tables, sections, chapters.

Scores are stored as the metric gives them (0.574) and shown times 100; bytes are bytes and shown in MB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..store.records import greater_is_better

DASH = "–"
COLLAPSED = "†"  # a run that gave every example the same label
AT_EDGE = "‡"  # the best learning rate is the lowest or highest that was tried
UNSURE = "?"  # only a damaged copy of the paper has the number
MARKS = {
    COLLAPSED: "a run gave every example the same label",
    AT_EDGE: "the best learning rate is the lowest or the highest that was tried",
    UNSURE: "only a damaged copy of the paper has it",
}
GAP = 2  # spaces between columns of text
NUMBER = re.compile(r"([+−-]?)(\d[\d,]*\.?\d*(?:e[+-]?\d+)?)([kMB]?)")
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
METRICS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "loss": "loss",
}


@dataclass(frozen=True)
class MeanStd:
    """A mean over seeds; `std` is the sample standard deviation (n - 1), None of a single value."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def over(cls, values: Iterable[float]) -> MeanStd:
        found = np.fromiter(values, dtype=float)
        return cls(float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else None, len(found))

    def times(self, factor: float) -> MeanStd:
        return MeanStd(factor * self.mean, None if self.std is None else factor * self.std, self.n)


@dataclass(frozen=True)
class Scale:
    """How scores of a kind are shown."""

    times: float
    digits: int
    unit: str  # of a difference
    what: str
    axis: str = ""  # what an axis says after the metric
    less_is_better: bool = False
    margin: float = 1.0  # two methods that differ by less, in the unit shown, are level

    @property
    def margin_words(self) -> str:
        """Returns the margin with its unit: `1 point`, `0.01 nats`."""
        return f"{self.margin:g} {self.unit.removesuffix('s') if self.margin == 1 else self.unit}"

    def number(self, value: float, sign: str = "") -> str:
        """Returns the value as text; `sign` "+" writes the sign of a positive one too."""
        return f"{round(self.times * value, self.digits) + 0.0:{sign}.{self.digits}f}"  # + 0.0: no -0.0

    def words(self, value: MeanStd | None, count: bool = False) -> str:
        """Returns `81.0 ± 1.2`, with the number of seeds behind it if `count`."""
        if value is None:
            return DASH
        spread = "" if value.std is None else f" ± {self.number(value.std)}"
        return f"{self.number(value.mean)}{spread}" + (f" ({value.n})" if count else "")

    def interval(self, low: float, high: float) -> str:
        return f"[{self.number(low)}, {self.number(high)}]"


POINTS = Scale(100, 1, "points", "score", " × 100")
RATINGS = Scale(1, 2, "of 10", "rating", margin=0.1)
NATS = Scale(1, 3, "nats", "loss", ", nats (less is better)", less_is_better=True, margin=0.01)


def scale_of(score_name: str) -> Scale:
    """Returns the scale of a main metric."""
    return POINTS if greater_is_better(score_name) else NATS


def metric_words(metric: str) -> str:
    """Returns `accuracy mm` for `accuracy_mm`; a name that is not known stays as it is."""
    for name, words in METRICS.items():
        if metric == name:
            return words
        if metric.startswith(f"{name}_"):
            return f"{words} {metric.removeprefix(f'{name}_')}"
    return metric


def amount(value: float | None) -> str:
    """Returns a number of scalars in three digits: `22.7M`."""
    if value is None:
        return DASH
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{three_digits(value / size)}{unit}"
    return f"{value:.0f}"


def percent(share: float) -> str:
    """Returns a share in two digits: `1.0%`, `16%`."""
    return f"{100 * share:.0f}%" if share >= 0.0995 or not share else f"{100 * share:#.2g}%"


def three_digits(value: float | None) -> str:
    if value is None:
        return DASH
    if value < 0.0995:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def megabytes(value: float | None) -> str:
    """Returns bytes in MB of 10^6."""
    return DASH if value is None else f"{value / 1e6:,.0f}"


def ratio(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def counted(number: int, what: str) -> str:
    """Returns `1 step`, `2 steps`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    """Returns `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def short_model(model: str) -> str:
    """Returns a hub id as it is, and of a directory its own name."""
    return model if model.count("/") < 2 else model.rstrip("/").rpartition("/")[2]


def sort_value(cell: str) -> float | None:
    """Returns the first number of a cell, in full (`70.8k (1.0%)` is 70800); None if it has none."""
    found = NUMBER.search(cell)
    if found is None:
        return None
    sign, digits, unit = found.groups()
    value = float(digits.replace(",", "")) * UNITS[unit]
    return -value if sign in ("-", "−") else value


@dataclass(frozen=True)
class Column:
    """One column: a head of one line or more, a text for each row."""

    head: str
    cells: Sequence[str]
    note: str = ""  # a line below the head that asks for attention
    left: bool = False  # words, which begin at the left

    @property
    def head_lines(self) -> list[str]:
        return [line for line in (*self.head.split("\n"), self.note) if line]

    @property
    def width(self) -> int:
        return max(map(len, [*self.head_lines, *self.cells]), default=0)


@dataclass(frozen=True)
class Table:
    """Columns of equal length; the first has the rows' labels."""

    columns: Sequence[Column]
    joined: Sequence[bool] = ()  # rows that stay below the one above them, however the table is sorted

    def __post_init__(self) -> None:
        assert len({len(column.cells) for column in self.columns}) == 1, "columns of one length"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(column.cells for column in self.columns), strict=True))

    def is_joined(self, row: int) -> bool:
        return bool(self.joined) and self.joined[row]

    def select(self, rows: Sequence[int]) -> Table:
        """Returns the table with these rows alone."""
        columns = [replace(column, cells=[column.cells[row] for row in rows]) for column in self.columns]
        return Table(columns, [self.is_joined(row) for row in rows])

    def blocks(self, width: float) -> list[Table]:
        """Returns tables no wider than `width` characters, each with the labels and without empty rows."""
        labels, *others = self.columns
        parts: list[list[Column]] = [[]]
        left = width - labels.width
        for column in others:
            if parts[-1] and GAP + column.width > left:
                parts.append([])
                left = width - labels.width
            parts[-1].append(column)
            left -= GAP + column.width
        made = []
        for part in parts:
            block = Table([labels, *part], self.joined)
            filled = [row for row, cells in enumerate(block.rows) if any(cells[1:]) or not part]
            made.append(block.select(filled))
        return made


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows, in words."""

    words: str
    path: Path  # a PNG


@dataclass(frozen=True)
class Section:
    """A sentence that says what was found, then tables and figures, then what one must know of them."""

    title: str
    sentence: str = ""
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    caption: dict[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    is_listing: bool = False  # its tables are long: Markdown and the terminal leave them out


@dataclass(frozen=True)
class Chapter:
    """Sections of one kind."""

    title: str
    sections: Sequence[Section]
    sentences: Sequence[str] = ()


Columns = list[tuple[str, Callable[[Any], str]]]  # heads, and what each says of a record


def records_table(records: Sequence[Any], columns: Columns, left: Collection[str] = ()) -> Table:
    """Makes a table with a row a record; the heads of `left` stand over words.

    Of columns that say nothing of any record only the first stays.
    """
    made = [Column(head, [text(each) for each in records], left=head in left) for head, text in columns]
    return Table([made[0], *(column for column in made[1:] if set(column.cells) - {"", DASH})])


def marks_in(tables: Iterable[Table]) -> str:
    """Returns what the marks in the cells mean, of those that occur."""
    text = "".join(cell for table in tables for row in table.rows for cell in row)
    return "; ".join(f"{mark} {words}" for mark, words in MARKS.items() if mark in text)


def known(values: Iterable[float | None]) -> list[float]:
    """Returns the values that are numbers."""
    return [float(value) for value in values if value is not None and not math.isnan(value)]
