"""The numbers that the paper prints (SparseGrad, EMNLP 2024), cell by cell."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from ..settings import Record

TABLES = Path(__file__).with_name("tables.json")
# what hubs and folders call the models of the paper, without an owner and in small letters
NAMES = {
    "bert-base": ("bert-base-uncased", "bert-base-cased"),
    "roberta-base": (),
    "roberta-large": (),
    "llama-2-7b": ("llama-2-7b-hf",),
}
GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")  # the tasks of its averages
METHODS = ("ft", "lora", "meprop", "sparsegrad")  # those that it compares
HYPERPARAMETER_TABLES = (13, 14, 15)
# how long its calibration took on a Xeon, in seconds; the text has these, no table
CALIBRATION_SECONDS = {"bert-base": 78.0, "roberta-base": 78.0, "llama-2-7b": 668.0}


class PaperCell(Record):
    """One number of one table."""

    table: int
    model: str  # one of `NAMES`
    method: str | None  # None: the same for all methods
    column: str  # a task, "avg", or what was measured
    value: float  # in `unit`; scores times 100
    std: float | None  # over the seeds
    unit: str
    sure: bool  # False: the copies of the paper that the tables were read from do not agree on it
    percent: float | None = None  # table 1: of all parameters
    kept_entries: int | None = None  # tables 11 and 12: of each MLP matrix, at a step; None: all
    kept_percent: float | None = None  # the same in percent
    batch_size: int | None = None  # tables 13-15, beside the learning rate


@cache
def paper_cells(table: int) -> tuple[PaperCell, ...]:
    """The cells of a table, in the paper's order; none of a table that it does not have."""
    cells = TypeAdapter(list[PaperCell]).validate_json(TABLES.read_bytes())
    return tuple(cell for cell in cells if cell.table == table)


def paper_hyperparameters(model: str, task: str | None) -> tuple[float, int, str] | None:
    """Returns the paper's best learning rate and batch size for a model and task, and the table.

    They are the same for all methods (tables 13-15).

    Args:
        model: as typed.
    """
    for table in HYPERPARAMETER_TABLES:
        for cell in paper_cells(table):
            if cell.column == task and cell.batch_size and same_model(model, cell.model):
                return cell.value, cell.batch_size, f"paper table {table}"
    return None


def paper_family(model: str) -> str | None:
    """The paper's name for a model, as typed: `FacebookAI/roberta-base`, a directory; None: it has not."""
    return next((family for family in NAMES if same_model(model, family)), None)


def same_model(name: str, family: str) -> bool:
    """Whether a hub id or directory is called as a model of the paper is, under any owner."""
    called = name.rstrip("/").rpartition("/")[2].lower()
    return called == family or called in NAMES[family]


def paper_calibration_seconds(model: str) -> float | None:
    """Returns how long the paper's calibration took, on a Xeon."""
    family = paper_family(model)
    return CALIBRATION_SECONDS.get(family) if family else None
