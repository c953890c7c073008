"""What a table is: rows of methods, columns of tasks, means and spreads over seeds. No drawing here.

Scores are as the metric gives them (0.574, not 57.4) and bytes are bytes, as in the runs' own files.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ..config import Precision, Protocol
from ..settings import Record
from ..store.names import Completeness


class Spread(Record):
    """A mean over seeds."""

    mean: float
    std: float | None  # sample standard deviation (n - 1); None of a single value
    n: int

    @classmethod
    def over(cls, values: Iterable[float]) -> Spread:
        found = pd.Series(list(values), dtype=float)
        return cls(mean=found.mean(), std=found.std(ddof=1) if len(found) > 1 else None, n=len(found))


class Column(Record):
    """One task with one set of examples."""

    task: str
    score_name: str  # the main metric
    metrics: tuple[str, ...]  # the main one first
    data_revision: str  # SHA-256 over the examples
    origins: tuple[str, ...]  # where they were read
    completeness: Completeness
    rows: dict[str, int]  # split -> rows
    official_rows: dict[str, int] | None  # None: a user's task
    majority: float | None  # accuracy of always saying the commonest class
    in_average: bool
    mark: str = ""  # tells two columns of one task apart


class Cell(Record):
    """The runs of one row on one task: they differ in nothing but the seed."""

    scores: dict[str, Spread]  # metric -> over the seeds
    seeds: tuple[int, ...]
    collapsed: int  # runs that gave every example the same label
    learning_rate: float
    batch_size: int
    hyperparameters_from: tuple[str, ...]


class Cost(Record):
    """Means over runs; None where no run measured it."""

    runs: int
    steps_per_second: float | None
    peak_memory_bytes: float | None
    trainable: float | None  # as in `schema.Parameters`
    adapted: float | None
    head: float | None
    touched: float | None
    adapted_share: float | None = None  # of the entries of the MLP linears; methods that keep some only
    touched_share: float | None = None


class Row(Record):
    """One method with one choice of settings."""

    method: str
    suffix: str  # the settings that tell the row from others of the table
    cells: tuple[Cell | None, ...]  # one a column
    average: Spread | None  # GLUE's: over tasks, of the mean of a task's metrics; std and n are of the seeds'
    main_average: Spread | None  # the same of the main metrics alone, as papers have it
    cost: Cost

    @property
    def label(self) -> str:
        return f"{self.method} ({self.suffix})" if self.suffix else self.method

    @property
    def collapsed(self) -> int:
        return sum(cell.collapsed for cell in self.cells if cell)


class Table(Record):
    """Runs that may be compared: one model from one checkpoint, one protocol, device and precision,
    with the rest of the model either trained or frozen.
    """

    title: str
    model: str
    checkpoint: str
    protocol: Protocol
    freeze_rest: bool  # whether only the adapters and the head were trained
    device: str
    precision: Precision
    data: str  # "GLUE", "chat", "own" or "synthetic"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: dict[str, str]
    reading: tuple[str, ...]  # the numbers in plain words

    @property
    def averages(self) -> bool:
        """Whether there are several tasks to average over, each with one set of examples."""
        tasks = [column.task for column in self.columns if column.in_average]
        return 1 < len(tasks) == len(set(tasks))

    @property
    def same_seeds(self) -> bool:
        """Whether every cell is over the same number of seeds."""
        return len({len(cell.seeds) for row in self.rows for cell in row.cells if cell}) < 2
