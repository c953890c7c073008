"""Tables 4, 9 and 10, a row a method and a column a task; and table 5, the averages of the last two."""

from __future__ import annotations

import pandas as pd

from ...paper import GLUE, PaperCell, paper_cells
from ..rows import METHODS
from ..table import Row
from .groups import (
    AVERAGE,
    Group,
    average,
    compared_column,
    find_groups,
    group_caption,
    group_title,
    no_row,
    our_row,
)
from .setting import setting_words
from .table import Compared, ComparedColumn, ComparedGrid, ComparedTable, OurRow, printed


def score_tables(number: int, runs: pd.DataFrame) -> list[ComparedTable]:
    """Table 4, 9 or 10 for each group of ours; without any, the paper's alone."""
    cells = paper_cells(number)
    return [_beside(number, cells, group) for group in find_groups(runs, cells[0].model)]


def average_table(runs: pd.DataFrame) -> ComparedTable:
    """Table 5: a column for each group of ours of each of its models."""
    cells = paper_cells(5)
    families = dict.fromkeys(cell.model for cell in cells)
    groups = [group for family in families for group in find_groups(runs, family)]
    columns = [
        ComparedColumn(head=group.family, kind="score", notes=tuple(filter(None, group.where.split(", "))))
        for group in groups
    ]
    rows = []
    for method in METHODS:
        theirs = {cell.model: cell for cell in cells if cell.method == method}
        rows.append(
            Compared(
                label=method,
                paper=tuple(printed(theirs.get(group.family)) for group in groups),
                ours=_averages(method, groups),
            )
        )
    grid = ComparedGrid(columns=tuple(columns), rows=tuple(rows))
    return ComparedTable(
        number=5,
        title="Paper, table 5: averages over GLUE",
        grids=(grid,),
        notes=() if grid.runs else ("No row of ours has all of the tasks yet.",),
        caption={
            "average": f"over {', '.join(GLUE)}; of ours where a row has them all",
            "ours": "what was run is told under tables 9 and 10",
        },
    )


def _beside(number: int, cells: tuple[PaperCell, ...], group: Group) -> ComparedTable:
    columns = group.columns(GLUE)
    tasks = [column if isinstance(column, str) else column.task for column in columns]
    rows = []
    for method in METHODS:
        theirs = {cell.column: cell for cell in cells if cell.method == method}
        ours = [our_row(method, row, group.table, columns) for row in _rows(group, method) if group.table]
        rows.append(
            Compared(
                label=method,
                paper=tuple(printed(theirs.get(task)) for task in (*tasks, "avg")),
                ours=tuple(ours or [no_row(method, columns)]),
            )
        )
    grid = ComparedGrid(columns=(*map(compared_column, columns), AVERAGE), rows=tuple(rows))
    return ComparedTable(
        number=number,
        title=group_title(number, group),
        grids=(grid,),
        notes=group.notes,
        caption=group_caption(group, setting_words(group.family)),
    )


def _averages(method: str, groups: list[Group]) -> tuple[OurRow, ...]:
    """A row for each choice of settings that any group has."""
    of_groups = [{row.suffix: row for row in _rows(group, method)} for group in groups]
    suffixes = dict.fromkeys(suffix for found in of_groups for suffix in found) or {"": None}
    return tuple(
        OurRow(
            label=method,
            settings=tuple(suffix.split(", ")) if suffix else (),
            cells=tuple(
                average(found.get(suffix), group.table)
                for found, group in zip(of_groups, groups, strict=True)
            ),
        )
        for suffix in suffixes
    )


def _rows(group: Group, method: str) -> list[Row]:
    return [row for row in group.table.rows if row.method == method] if group.table else []
