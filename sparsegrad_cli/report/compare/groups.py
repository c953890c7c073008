"""Our runs of a model of the paper, in groups that may be compared, in the columns of a paper's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ...paper import GLUE
from ...tasks import get_task
from ..build import build_tables, split_tables
from ..numbers import metric_words, notes
from ..table import Column, Row, Spread, Table
from .setting import setting_notes, split_by_setting
from .table import ComparedColumn, OurRow, hundredfold

AVERAGE = ComparedColumn(head="average", kind="score")


@dataclass(frozen=True)
class Group:
    """Runs of one model, checkpoint, device and precision, in the paper's setting; or none."""

    family: str  # the paper's name for the model
    runs: pd.DataFrame
    table: Table | None  # of the runs
    notes: tuple[str, ...]

    @property
    def where(self) -> str:
        """Which runs these are, in a few words; empty where there are none."""
        return f"{self.table.model}, {self.table.device}, {self.table.precision}" if self.table else ""

    def columns(self, tasks: Sequence[str]) -> list[Column | str]:
        """As `columns_of_tasks` has them."""
        return columns_of_tasks(self.table.columns if self.table else (), tasks)


def find_groups(runs: pd.DataFrame, family: str, any_share: bool = False) -> list[Group]:
    """At least one; without any run of ours an empty one.

    Args:
        runs: finished runs, as `read_runs` has them, each once.
        any_share: however many entries of the MLP matrices are kept.
    """
    fit, others = split_by_setting(runs, family, any_share)
    groups = [
        Group(family, part, *build_tables(part), setting_notes(part, others)) for _, part in split_tables(fit)
    ]
    none = "No run in the paper's setting yet." if others else "No run of this model yet."
    return groups or [Group(family, fit, None, (none, *setting_notes(fit, others)))]


def columns_of_tasks(columns: Sequence[Column], tasks: Sequence[str]) -> list[Column | str]:
    """Of each task all columns of ours, or its name where there is none."""
    made: list[Column | str] = []
    for task in tasks:
        made += [column for column in columns if column.task == task] or [task]
    return made


def compared_column(column: Column | str) -> ComparedColumn:
    """A task with its metric, and what our data has to be told of."""
    task = column if isinstance(column, str) else column.task
    said = () if isinstance(column, str) else tuple(notes(column))
    return ComparedColumn(head=task, kind="score", metric=metric_words(get_task(task).score_name), notes=said)


def our_row(label: str, row: Row, table: Table, columns: Sequence[Column | str]) -> OurRow:
    """A row of `table` in the columns asked for, the average last."""
    cells = {_key(column): cell for column, cell in zip(table.columns, row.cells, strict=True)}
    found = [None if isinstance(column, str) else cells.get(_key(column)) for column in columns]
    names = ["" if isinstance(column, str) else column.score_name for column in columns]
    scores = [cell and cell.scores.get(name) for cell, name in zip(found, names, strict=True)]
    return OurRow(
        label=label,
        settings=tuple(row.suffix.split(", ")) if row.suffix else (),
        cells=(*map(hundredfold, scores), average(row, table)),
        collapsed=(*(bool(cell and cell.collapsed) for cell in found), False),
    )


def no_row(label: str, columns: Sequence[Column | str]) -> OurRow:
    """Where nothing was run; with the average."""
    return OurRow(label=label, cells=(None,) * (len(columns) + 1))


def average(row: Row | None, table: Table | None) -> Spread | None:
    """Over the paper's eight tasks; of fewer it would be another number."""
    if row is None or table is None:
        return None
    tasks = {column.task for column in table.columns if column.in_average}
    return hundredfold(row.main_average) if tasks == set(GLUE) else None


def group_title(number: int, group: Group) -> str:
    """The paper's table, and which of our runs stand beside it."""
    what = f"Paper, table {number}: {group.family} on GLUE"
    return f"{what}, and {group.where}" if group.table else what


def group_caption(group: Group, setting: str) -> dict[str, str]:
    """What the paper trains, and what was run in the words of our own tables."""
    said = group.table.caption if group.table else {}
    return {
        "paper": f"{setting}; on dev, over 3 seeds",
        "average": f"over {', '.join(GLUE)}; of ours where a row has them all",
        **{name: text for name, text in said.items() if name != "cost"},
    }


def _key(column: Column) -> tuple[str, str, str]:
    return column.task, column.data_revision, column.score_name
