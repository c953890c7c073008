"""How a table of the paper stands beside ours: a line each for ours, theirs and the difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .table import (
    DASH,
    UNSURE,
    Column,
    Table,
    three_digits,
)


@dataclass(frozen=True)
class Number:
    """How numbers of a kind are written, and how ours is held against the paper's."""

    ours: Callable[[float], str]
    paper: Callable[[float], str]
    digits: int | None = None  # of the difference; None: the two do not compare
    is_ratio: bool = False  # compared by their ratio


def _format(code: str) -> Callable[[float], str]:
    return lambda value: format(value, code)


SCORE = Number(_format(".1f"), _format(".1f"), 1)
SPEED = Number(three_digits, three_digits)
MEMORY = Number(_format(",.0f"), _format(",.0f"))
RATIO = Number(_format(".2f"), _format(".2f"), 2)
RATE = Number(_format(".2e"), _format(".2e"), is_ratio=True)
BATCH = Number(_format("g"), _format("g"), is_ratio=True)
MILLIONS = Number(_format(",.1f"), _format(",g"), 1)
PERCENT = Number(_format(".1f"), _format("g"), 1)
SHARE = Number(_format(".2f"), _format("g"), 2)
MEASURE = Number(_format(".3f"), _format("g"), 3)
ASIDE = Number(_format(".3f"), _format("g"))


@dataclass(frozen=True)
class Head:
    """A column of both."""

    column: str  # in the frames
    head: str
    number: Number
    note: str = ""


@dataclass(frozen=True)
class Ours:
    """What we have beside one table, in one group of results that may be compared."""

    frame: pd.DataFrame  # row, settings, column, mean, std, n, mark
    heads: Sequence[Sequence[Head]]  # of each table to draw
    where: str = ""
    notes: Sequence[str] = ()
    caption: dict[str, str] | None = None


def beside_table(head_of_rows: str, ours: pd.DataFrame, paper: pd.DataFrame, heads: Sequence[Head]) -> Table:
    """For each row of ours, or of the paper alone: ours, the paper's and, where both are, the difference."""
    of_paper = {(row["row"], row["column"]): row for row in paper.to_dict("records")}
    of_ours = {(row["row"], row["settings"], row["column"]): row for row in ours.to_dict("records")}
    counts = len({row["n"] for row in of_ours.values()}) > 1
    lines: list[tuple[str, list[str]]] = []
    joined: list[bool] = []
    for name in dict.fromkeys([*paper["row"], *ours["row"]]):
        printed = [of_paper.get((name, head.column)) for head in heads]
        settings = list(dict.fromkeys(s for row, s, _ in of_ours if row == name)) or [None]
        for setting in settings:
            cells = [of_ours.get((name, setting, head.column)) for head in heads]
            label = f"{name} ({setting})" if setting else str(name)
            group = [(label, [_ours_words(*pair, counts) for pair in zip(cells, heads, strict=True)])]
            if any(printed):
                group.append(("paper", [_paper_words(*pair) for pair in zip(printed, heads, strict=True)]))
                differences = [_difference(*triple) for triple in zip(cells, printed, heads, strict=True)]
                if any(text != DASH for text in differences):
                    group.append(("difference", differences))
            if setting is None:
                group = [(f"paper, {name}", group[1][1])] if len(group) > 1 else []
            lines += group
            joined += [place > 0 for place in range(len(group))]
    columns = [Column(head_of_rows, [label for label, _ in lines])]
    for place, head in enumerate(heads):
        columns.append(Column(head.head, [texts[place] for _, texts in lines], head.note))
    return Table(columns, joined)


def _ours_words(cell: dict[str, Any] | None, head: Head, counts: bool) -> str:
    if cell is None:
        return DASH
    spread = "" if cell["std"] is None else f" ± {head.number.ours(cell['std'])}"
    return head.number.ours(cell["mean"]) + spread + (f" ({cell['n']})" if counts else "") + cell["mark"]


def _paper_words(cell: dict[str, Any] | None, head: Head) -> str:
    if cell is None:
        return DASH
    spread = "" if cell["std"] is None else f" ± {head.number.paper(cell['std'])}"
    return head.number.paper(cell["value"]) + spread + ("" if cell["sure"] else UNSURE)


def _difference(ours: dict[str, Any] | None, paper: dict[str, Any] | None, head: Head) -> str:
    if ours is None or paper is None:
        return DASH
    if head.number.is_ratio:
        return f"× {ours['mean'] / paper['value']:.2g}"
    digits = head.number.digits
    return DASH if digits is None else f"{round(ours['mean'] - paper['value'], digits) + 0.0:+.{digits}f}"
