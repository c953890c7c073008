"""Tables 11 and 12: SparseGrad by the number of entries that it keeps; a row a number, a column a task."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...paper import PaperCell, paper_cells
from ..build import build_tables
from ..rows import Setting, setting_words
from ..table import Column
from .groups import (
    AVERAGE,
    Group,
    compared_column,
    find_groups,
    group_caption,
    group_title,
    no_row,
    our_row,
)
from .setting import kept_share
from .table import Compared, ComparedGrid, ComparedTable, OurRow, printed

SETTING = (
    "a step trains as many entries of each MLP matrix, chosen anew at each, and all else; its "
    "numbers at 100% are those of SparseGrad in table {full}, not of full fine-tuning; ours has density 1"
)
FULL = {11: 9, 12: 10}  # the table of the same model with all tasks


def kept_tables(number: int, runs: pd.DataFrame) -> list[ComparedTable]:
    """Table 11 or 12 for each group of ours; without any, the paper's alone."""
    family = paper_cells(number)[0].model
    own = runs if runs.empty else runs[runs["method"] == "sparsegrad"]
    return [_beside(number, group) for group in find_groups(own, family, any_share=True)]


def _beside(number: int, group: Group) -> ComparedTable:
    cells = paper_cells(number)
    tasks = list(dict.fromkeys(cell.column for cell in cells if cell.column != "avg"))
    columns = group.columns(tasks)
    names = [column if isinstance(column, str) else column.task for column in columns]
    rows = []
    for kept in dict.fromkeys((cell.kept_entries, cell.kept_percent) for cell in cells):
        theirs = {cell.column: cell for cell in cells if (cell.kept_entries, cell.kept_percent) == kept}
        rows.append(
            Compared(
                label=_label(next(iter(theirs.values()))),
                paper=tuple(printed(theirs.get(name)) for name in (*names, "avg")),
                ours=_ours(next(iter(theirs.values())), group, columns),
            )
        )
    grid = ComparedGrid(head="kept", columns=(*map(compared_column, columns), AVERAGE), rows=tuple(rows))
    return ComparedTable(
        number=number,
        title=f"{group_title(number, group)}, SparseGrad by kept entries",
        grids=(grid,),
        notes=group.notes,
        caption=group_caption(group, SETTING.format(full=FULL[number])),
    )


def _ours(cell: PaperCell, group: Group, columns: list[Column | str]) -> tuple[OurRow, ...]:
    """The runs that keep as many, to the digit that the paper's percentage has."""
    label = _label(cell)
    fit = [_keeps(run, cell, group.family) for run in group.runs.to_dict("records")]
    if not any(fit):
        return (no_row(label, columns),)
    own = group.runs[fit]
    (table,) = build_tables(own)
    rows = [our_row(label, row, table, columns) for row in table.rows]
    if cell.kept_entries and own["density"].nunique(dropna=False) == 1 and own["density"].iloc[0] is not None:
        share = setting_words("density", own["density"].iloc[0])  # about as many entries as the paper's
        rows = [row.model_copy(update={"settings": (share, *row.settings)}) for row in rows]
    return tuple(rows)


def _keeps(run: Mapping[str, Setting], cell: PaperCell, family: str) -> bool:
    share = kept_share(run, family)
    if share is None or cell.kept_percent is None:
        return False
    return run["kept"] == cell.kept_entries if run["kept"] else round(100 * share, 1) == cell.kept_percent


def _label(cell: PaperCell) -> str:
    return f"{cell.kept_entries:,} ({cell.kept_percent:g}%)" if cell.kept_entries else "all (100%)"
