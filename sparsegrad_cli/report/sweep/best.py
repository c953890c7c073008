"""The best parameters: a row a method, a column a task, the paper's below."""

from __future__ import annotations

from ...paper import paper_hyperparameters
from ...sweep.folder import ReadSweep
from ..layout import Part
from ..numbers import DASH, metric_words
from ..scale import scale_of
from ..table import Column
from .group import Group
from .params import fixed, parameter_lines


def best_parts(group: Group) -> list[Part]:
    """Learning rate, batch size, what else was searched, and the score that they came to."""
    labels = [row.lines for row in group.rows]
    columns = [[_cell(row.studies[place]) for row in group.rows] for place in range(len(group.columns))]
    papers = [_paper(group, column) for column in group.columns]
    if any(papers):
        sources = {source for source, _ in filter(None, papers)}
        labels.append([f"paper ({', '.join(source.removeprefix('paper ') for source in sorted(sources))})"])
        for cells, paper in zip(columns, papers, strict=True):
            cells.append(paper[1] if paper else [DASH])
    parts = [_part(column, cells) for column, cells in zip(group.columns, columns, strict=True)]
    return [Part(["method"], labels), *parts]


def has_paper(group: Group) -> bool:
    """Whether the paper has parameters for any of the tasks."""
    return any(_paper(group, column) for column in group.columns)


def paper_best(kind: str, model: str, task: str) -> tuple[float, int, str] | None:
    """What the paper found; nothing for a task whose examples are not GLUE's."""
    return paper_hyperparameters(model, task) if kind == "GLUE" else None


def _part(column: Column, cells: list[list[str]]) -> Part:
    notes = [] if column.completeness == "complete" else [column.completeness]
    notes += [column.mark] if column.mark else []
    return Part([column.task], cells, [metric_words(column.score_name)], notes)


def _cell(study: ReadSweep | None) -> list[str]:
    best = study and study.sweep.result.best
    if not best or best.score is None:
        return [DASH]
    config = study.sweep.config
    return [
        *parameter_lines({**fixed(config), **best.params}),
        scale_of(config.score_name).number(best.score),
    ]


def _paper(group: Group, column: Column) -> tuple[str, list[str]] | None:
    """Which table of the paper, and what it has."""
    found = paper_best(group.kind, group.config.model, column.task)
    if found is None:
        return None
    rate, size, source = found
    return source, parameter_lines({"learning_rate": rate, "batch_size": size})
