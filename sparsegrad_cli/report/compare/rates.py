"""Tables 13 to 15: the best learning rates and batch sizes, beside those of our sweeps."""

from __future__ import annotations

from collections.abc import Sequence

from ...paper import GLUE, paper_cells, same_model
from ...sweep.folder import ReadSweep
from ..sweep.caption import sweep_caption
from ..sweep.group import Group, StudyRow, group_studies
from ..table import Column, Spread
from .groups import columns_of_tasks, compared_column
from .setting import method_reason
from .table import Compared, ComparedGrid, ComparedTable, Kind, OurRow, Printed, single

COLUMNS: dict[str, Kind] = {"learning_rate": "rate", "batch_size": "batch"}
PAPER = "one learning rate and batch size for all methods; of those that it searched"


def rate_tables(number: int, sweeps: Sequence[ReadSweep]) -> list[ComparedTable]:
    """Table 13, 14 or 15 for each group of studies; without any, the paper's alone."""
    family = paper_cells(number)[0].model
    found = [study for study in sweeps if _is_papers(study, family)]
    groups = [group for group in group_studies(found) if group.kind == "GLUE"]
    return [_beside(number, family, group) for group in groups or [None]]


def _is_papers(study: ReadSweep, family: str) -> bool:
    config = study.sweep.config
    searched = dict.fromkeys(config.space.parameters)  # part of no setting
    run = {**config.template.model_dump(), **searched}
    return same_model(config.model, family) and not method_reason(run, family)


def _beside(number: int, family: str, group: Group | None) -> ComparedTable:
    columns = columns_of_tasks(group.columns if group else (), GLUE)
    heads = [compared_column(column) for column in columns]
    grids = []
    for name, kind in COLUMNS.items():
        rows = Compared(
            label="all methods",
            paper=tuple(_printed(number, name, head.head) for head in heads),
            ours=tuple(_our_row(row, name, group, columns) for row in group.rows) if group else (),
        )
        shown = [h.model_copy(update={"kind": kind, "metric": name.replace("_", " ")}) for h in heads]
        grids.append(ComparedGrid(columns=tuple(shown), rows=(rows,)))
    title = f"Paper, table {number}: best learning rate and batch size, {family}"
    return ComparedTable(
        number=number,
        title=f"{title}, and {group.config.model}" if group else title,
        grids=tuple(grids),
        notes=() if group else ("No sweep of this model yet.",),
        caption={"paper": PAPER, **(sweep_caption(group) if group else {})},
    )


def _printed(number: int, name: str, task: str) -> Printed | None:
    for cell in paper_cells(number):
        if cell.column == task and cell.batch_size:
            value = cell.value if name == "learning_rate" else cell.batch_size
            return Printed(value=value, sure=cell.sure)
    return None


def _our_row(row: StudyRow, name: str, group: Group, columns: Sequence[Column | str]) -> OurRow:
    studies = {_key(column): study for column, study in zip(group.columns, row.studies, strict=True)}
    found = [None if isinstance(column, str) else studies.get(_key(column)) for column in columns]
    return OurRow(
        label=row.method, settings=row.suffix, cells=tuple(_searched(study, name) for study in found)
    )


def _searched(study: ReadSweep | None, name: str) -> Spread | None:
    """The best study's value of what it searched."""
    best = study.sweep.result.best if study else None
    value = best.params.get(name) if best else None
    return single(float(value)) if isinstance(value, int | float) else None


def _key(column: Column) -> tuple[str, str]:
    return column.task, column.data_revision
