"""The runs of one table, as figures take them: a panel a task, with the rows that the task has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from ..build import columns_of, of_column, split_tables
from ..caption import code_words, data_words, machine_words, method_words, title, training_words
from ..chat.caption import chat_data, chat_title, chat_training
from ..chat.split import chat_kind, split_chat, split_kinds
from ..numbers import metric_words
from ..rows import RowRuns, method_order, split_rows
from ..scale import Scale, scale_of
from ..table import Column
from .style import Look, looks

NOTE = (
    "Points and lines are means over the seeds, error bars their sample standard deviation; bands reach from "
    "the lowest to the highest seed, as far as every seed was trained. Rings and the dotted line: the points "
    "that no other beats in both."
)


@dataclass(frozen=True)
class Panel:
    """One task: the runs of a row differ in nothing but the seed."""

    column: Column
    rows: dict[str, RowRuns]  # by a label that tells them apart on this task

    @property
    def title(self) -> str:
        """The task, and which examples where it has several."""
        return f"{self.column.task} ({self.column.mark})" if self.column.mark else self.column.task

    @property
    def scale(self) -> Scale:
        """How scores are shown."""
        return scale_of(self.column.score_name)

    @property
    def score_axis(self) -> str:
        return f"{metric_words(self.column.score_name)}{self.scale.axis}"


@dataclass(frozen=True)
class Group:
    """Runs that may be compared: one model from one checkpoint, one protocol, device and precision,
    with the rest of the model either trained or frozen.
    """

    title: str
    kind: str  # of the data, as in `Table`
    model: str
    runs: pd.DataFrame
    panels: tuple[Panel, ...]
    training: str  # in words, as under a table
    data: str

    def looks(self) -> dict[str, Look]:
        """By label: rows of the same label look the same on every task."""
        return looks_of((row.method, label) for panel in self.panels for label, row in panel.rows.items())

    def notes(self) -> list[str]:
        """How the figures are to be read."""
        unequal = [
            panel.title
            for panel in self.panels
            if len({size for row in panel.rows.values() for size in row.runs["batch_size"]}) > 1
        ]
        if not unequal:
            return [NOTE]
        return [NOTE, f"Batch sizes differ on {', '.join(unequal)}: speed and memory do not compare there."]

    def caption(self) -> dict[str, str]:
        """What was run."""
        told = {
            "training": self.training,
            "methods": method_words(self.runs),
            "data": self.data,
            "ran on": machine_words(self.runs),
            "code": code_words(self.runs),
        }
        return {name: text for name, text in told.items() if text}


def split_groups(done: pd.DataFrame) -> Iterator[Group]:
    """A group for each table that is made of the same runs."""
    scored, chat = split_kinds(done)
    for (model, kind, *_), runs in split_tables(scored):
        columns = columns_of(runs)
        words, told = title(runs, kind, columns), (training_words(runs), data_words(columns))
        yield Group(words, kind, model, runs, _panels(runs), *told)
    for runs in split_chat(chat):
        model, told = runs["model"].iloc[0], (chat_training(runs), chat_data(runs))
        yield Group(chat_title(runs), chat_kind(runs), model, runs, _panels(runs), *told)


def _panels(runs: pd.DataFrame) -> tuple[Panel, ...]:
    return tuple(_panel(column, of_column(column, runs)) for column in columns_of(runs))


def _panel(column: Column, runs: pd.DataFrame) -> Panel:
    return Panel(column, {row_label(row): row for row in split_rows(runs)})


def row_label(row: RowRuns) -> str:
    return f"{row.method}, {row.suffix}" if row.suffix else row.method


def looks_of(labelled: Iterable[tuple[str, str]]) -> dict[str, Look]:
    """A look for each label, from pairs of method and label."""
    pairs = sorted(dict.fromkeys(labelled), key=lambda pair: method_order(pair[0]))
    return dict(zip([label for _, label in pairs], looks(pairs), strict=True))
