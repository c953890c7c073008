"""Load the test splits of a GLUE task: texts alone, whatever stands in their label column."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, Features, Value

from ..errors import InputError
from .load import TaskData, as_text, digest, read_test_split
from .rows import Rows
from .task import LEADERBOARD, ChatTask, HiddenSplit, Task


def load_test(data: TaskData, source: str) -> TaskData:
    """The test splits that belong with a task's train and dev splits.

    MNLI's are matched and mismatched, and GLUE's diagnostic set `ax` where the source has it.

    Args:
        data: the task's train and dev splits.
        source: where they are from, as `load_data` takes it.

    Returns:
        Its splits have the columns `idx` (int64) and the text columns (string), and no label.

    Raises:
        InputError: the task or the source has no test split, or a row is not what it should be.
    """
    task = data.task
    if isinstance(task, ChatTask):
        raise InputError(f"--predict-test: {task.name} has no test split: leave it out")
    if task.files is not None:
        raise InputError(
            f"--predict-test: {task.name} is a task of yours; only GLUE's have a leaderboard: leave it out"
        )
    if source == "demo":
        raise InputError(
            "--predict-test: the synthetic tasks of --data demo have no test split: give --data hub or a "
            "directory with GLUE's test files"
        )
    hidden = LEADERBOARD[task.name]
    found = _from_hub(data, hidden) if source == "hub" else _from_folder(task, Path(source), hidden)
    splits = {name: _check(task, rows) for name, rows in found.items()}
    whole = {split.name: split.rows for split in hidden} == {name: len(rows) for name, rows in splits.items()}
    return TaskData(task, splits, data.origin, "complete" if whole else "partial", digest(task, splits))


def _from_hub(data: TaskData, hidden: tuple[HiddenSplit, ...]) -> dict[str, Rows]:
    """Of the commit that the other splits are from, which ends their origin."""
    from .hub import read_hidden

    read = read_hidden(hidden, data.origin.rpartition("@")[2])
    return {
        name: Rows(f"nyu-mll/glue {data.task.name} {name}", enumerate(dataset.to_list(), 1), by_line=False)
        for name, dataset in read.items()
    }


def _from_folder(task: Task, folder: Path, hidden: tuple[HiddenSplit, ...]) -> dict[str, Rows]:
    read = {split.name: read_test_split(task, folder, split) for split in hidden}
    return {name: rows for name, rows in read.items() if rows is not None}


def _check(task: Task, rows: Rows) -> Dataset:
    """One split in our form; a row without text is one of the leaderboard's all the same."""
    columns = [rows.names.get(column, column) for column in task.text]
    idx, texts = [], []
    for number, row in rows.numbered:
        try:
            texts.append([as_text(column, row[column]) for column in columns])
        except ValueError as error:
            raise InputError(f"{rows.place(number)}: {error}") from None
        idx.append(row.get("idx"))
    if not texts:
        raise InputError(f"{rows.source}: empty: there is no row to predict")
    if len({i for i in idx if type(i) is int}) < len(idx):
        idx = range(len(idx))
    features = Features({"idx": Value("int64"), **dict.fromkeys(task.text, Value("string"))})
    named = dict(zip(task.text, zip(*texts, strict=True), strict=True))
    return Dataset.from_dict({"idx": idx, **named}, features=features)
