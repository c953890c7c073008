"""What a table of the paper beside ours is. No drawing here; all numbers in the paper's units."""

from __future__ import annotations

from typing import Literal

from ...paper import PaperCell
from ...settings import Record
from ..table import Spread

# score: times 100; speed: steps/s; memory: MB; ratio: over ft; millions: of parameters;
# trained: % of all parameters; measure: as it is; aside: as it is, and not to be compared
Kind = Literal[
    "score", "speed", "memory", "ratio", "rate", "batch", "millions", "percent", "trained", "measure", "aside"
]


class Printed(Record):
    """What the paper prints in a cell."""

    value: float
    std: float | None = None
    sure: bool = True


class ComparedColumn(Record):
    """One column of both."""

    head: str
    kind: Kind
    metric: str = ""
    notes: tuple[str, ...] = ()  # on our data


class OurRow(Record):
    """One row of ours."""

    label: str
    settings: tuple[str, ...] = ()  # that tell it from other rows of ours beside the same row of the paper's
    cells: tuple[Spread | None, ...]  # one a column
    collapsed: tuple[bool, ...] = ()  # one a column, where a run can give every example the same label


class Compared(Record):
    """A row of the paper's with the rows of ours that it is compared with."""

    label: str
    paper: tuple[Printed | None, ...] = ()  # one a column; empty: the paper has no such row
    ours: tuple[OurRow, ...]  # where nothing was run, one without cells, or none


class ComparedGrid(Record):
    """Rows and columns."""

    head: str = "method"  # of the rows' labels
    columns: tuple[ComparedColumn, ...]
    rows: tuple[Compared, ...]

    @property
    def runs(self) -> bool:
        """Whether any cell is of ours."""
        return any(cell for row in self.rows for ours in row.ours for cell in ours.cells)


class ComparedTable(Record):
    """A table of the paper and ours."""

    number: int  # the paper's
    title: str
    grids: tuple[ComparedGrid, ...]
    notes: tuple[str, ...] = ()
    caption: dict[str, str]


def printed(cell: PaperCell | None) -> Printed | None:
    """The cell, or None where the paper has none."""
    return cell and Printed(value=cell.value, std=cell.std, sure=cell.sure)


def hundredfold(spread: Spread | None) -> Spread | None:
    """A score as the paper prints it."""
    if spread is None:
        return None
    return Spread(mean=100 * spread.mean, std=spread.std and 100 * spread.std, n=spread.n)


def single(value: float | None) -> Spread | None:
    """One number that is over nothing."""
    return None if value is None else Spread(mean=value, std=None, n=1)
