"""A table of the paper beside ours, in words: ours, the paper's, the difference, each in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..layout import Part
from ..numbers import COLLAPSED, DASH, speed
from ..section import Section
from ..table import Spread
from .table import Compared, ComparedGrid, ComparedTable, Kind, OurRow, Printed

PAPER, DIFFERENCE = "paper", "difference"
UNSURE = "?"
LEGEND = {
    UNSURE: "only a damaged copy of the paper has it",
    COLLAPSED: "a run gave every example the same label",
}


Line = tuple[list[str], list[str]]  # label and its settings, a text for each column


@dataclass(frozen=True)
class Format:
    """How numbers of a kind are written."""

    ours: Callable[[float], str]
    paper: Callable[[float], str]
    against: Callable[[float, float], str] | None  # ours, the paper's; None: the two do not compare


def _plain(digits: str) -> Callable[[float], str]:
    return lambda value: f"{value:{digits}}"


def _less(digits: int) -> Callable[[float, float], str]:
    return lambda ours, paper: f"{round(ours - paper, digits) + 0.0:+.{digits}f}"  # + 0.0: no -0.0


def _over(ours: float, paper: float) -> str:
    return f"× {ours / paper:.2g}"


FORMATS: dict[Kind, Format] = {
    "score": Format(_plain(".1f"), _plain(".1f"), _less(1)),
    "speed": Format(speed, speed, None),
    "memory": Format(_plain(",.0f"), _plain(",.0f"), None),
    "ratio": Format(_plain(".2f"), _plain(".2f"), _less(2)),
    "rate": Format(_plain(".2e"), _plain(".2e"), _over),
    "batch": Format(_plain("g"), _plain("g"), _over),
    "millions": Format(_plain(",.1f"), _plain(",g"), _less(1)),
    "percent": Format(_plain(".1f"), _plain("g"), _less(1)),
    "trained": Format(_plain(".2f"), _plain("g"), _less(2)),
    "measure": Format(_plain(".3f"), _plain("g"), _less(3)),
    "aside": Format(_plain(".3f"), _plain("g"), None),
}


def compared_section(table: ComparedTable) -> Section:
    """The section that shows it."""
    grids = [_parts(grid) for grid in table.grids]
    shown = "".join(line for parts in grids for part in parts for cell in part.cells for line in cell)
    legend = "; ".join(f"{mark} {words}" for mark, words in LEGEND.items() if mark in shown)
    caption = {**table.caption, **({"legend": legend} if legend else {})}
    return Section(
        title=table.title,
        grids=grids,
        notes=list(table.notes),
        caption=caption,
        nothing_of_ours=not any(grid.runs for grid in table.grids),
    )


def _parts(grid: ComparedGrid) -> list[Part]:
    groups = [lines for row in grid.rows for lines in _groups(row, grid)]
    lines = [line for group in groups for line in group]
    joined = [place > 0 for group in groups for place in range(len(group))]
    parts = [Part([grid.head], [label for label, _ in lines], joined=joined)]
    for place, column in enumerate(grid.columns):
        parts.append(
            Part(
                head=column.head.split("\n"),
                cells=[[texts[place]] for _, texts in lines],
                metrics=[column.metric] if column.metric else [],
                notes=list(column.notes),
            )
        )
    return parts


def _groups(row: Compared, grid: ComparedGrid) -> Iterator[list[Line]]:
    """For each row of ours: it, the paper's, and where both have a cell the difference."""
    formats = [FORMATS[column.kind] for column in grid.columns]
    sizes = {cell.n for found in grid.rows for ours in found.ours for cell in ours.cells if cell}
    paper = [_paper(*pair) for pair in zip(row.paper, formats, strict=True)] if row.paper else []
    for ours in row.ours:
        marks = [COLLAPSED if mark else "" for mark in ours.collapsed] or [""] * len(formats)
        texts = [_ours(*pair, len(sizes) > 1) for pair in zip(ours.cells, formats, strict=True)]
        lines: list[Line] = [
            ([ours.label, *ours.settings], [text + mark for text, mark in zip(texts, marks, strict=True)])
        ]
        if paper:
            lines.append(([PAPER], paper))
            differences = _differences(ours, row.paper, formats)
            if any(text != DASH for text in differences):
                lines.append(([DIFFERENCE], differences))
        yield lines
    if not row.ours:
        yield [([f"{PAPER}, {row.label}"], paper)]


def _ours(cell: Spread | None, form: Format, count: bool) -> str:
    if cell is None:
        return DASH
    spread = "" if cell.std is None else f" ± {form.ours(cell.std)}"
    return form.ours(cell.mean) + spread + (f" ({cell.n})" if count else "")


def _paper(cell: Printed | None, form: Format) -> str:
    if cell is None:
        return DASH
    spread = "" if cell.std is None else f" ± {form.paper(cell.std)}"
    return form.paper(cell.value) + spread + ("" if cell.sure else UNSURE)


def _differences(ours: OurRow, paper: Sequence[Printed | None], formats: Sequence[Format]) -> list[str]:
    return [
        form.against(cell.mean, beside.value) if cell and beside and form.against else DASH
        for cell, beside, form in zip(ours.cells, paper, formats, strict=True)
    ]
