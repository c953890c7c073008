"""A table of the HTML page, with the numbers that its rows are sorted by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from ..layout import Part

NUMBER = re.compile(r"([+−-]?)(\d[\d,]*\.?\d*(?:e[+-]?\d+)?)([kMB]?)")
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}


def table_html(parts: Sequence[Part], title: str) -> str:
    """A table in a box in which it scrolls; the first part is the rows' labels."""
    return "\n".join(_lines(parts, title))


def sort_value(cell: Sequence[str]) -> float | None:
    """The first number of the first line, in full (`70.8k (1.0%)` is 70800); None where there is none."""
    found = NUMBER.search(cell[0]) if cell else None
    if found is None:
        return None
    sign, digits, unit = found.groups()
    value = float(digits.replace(",", "")) * UNITS[unit]
    return -value if sign in ("-", "−") else value


def _lines(parts: Sequence[Part], title: str) -> Iterator[str]:
    labels, *others = parts
    yield f'<div class="scroll" role="group" aria-label="{escape(title)}">\n<table>'
    yield (
        "<thead><tr>" + "".join(_head(part, part.left or part is labels) for part in parts) + "</tr></thead>"
    )
    joined = labels.joined or [False] * len(labels.cells)
    for row, label in enumerate(labels.cells):
        # rows of one body are sorted as one
        begin = "" if joined[row] else "<tbody>"
        end = "</tbody>" if not any(joined[row + 1 : row + 2]) else ""
        cells = "".join(_cell(part.cells[row], part.left) for part in others)
        yield f'{begin}<tr><th scope="row">{_stacked(label)}</th>{cells}</tr>{end}'
    yield "</table>\n</div>"


def _head(part: Part, left: bool) -> str:
    lines = [f"<b>{escape(' '.join(part.head))}</b>", *map(escape, part.metrics)]
    lines += [f"<i>{escape(note)}</i>" for note in part.notes]
    side = ' class="left"' if left else ""
    return f'<th scope="col" aria-sort="none"{side}><button type="button">{"<br>".join(lines)}</button></th>'


def _cell(cell: Sequence[str], left: bool) -> str:
    if left:
        return f'<td class="left">{_stacked(cell)}</td>'
    value = sort_value(cell)
    number = "" if value is None else f' data-value="{value!r}"'
    return f"<td{number}>{_stacked(cell)}</td>"


def _stacked(lines: Sequence[str]) -> str:
    return "<br>".join(map(escape, lines))
