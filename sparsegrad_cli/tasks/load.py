"""Load the train and dev splits of a task from wherever they are, checked and in one form."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, Features, Value

from ..errors import InputError
from ..store.schema import Completeness, DataRecord
from . import get_task, task_names
from .rows import Row, Rows, read_rows
from .task import ChatTask, HiddenSplit, LeftOut, Task


@dataclass(frozen=True)
class TaskData:
    """A task's examples, split by split.

    The columns of a split are `idx` (int64: the source's own where it numbers every row, else the row's
    place from 0), the text columns (string) and `label` (int64 class id; float32 for regression). Those of a
    chat task are told in `chat/data.py`.
    """

    task: Task | ChatTask
    splits: dict[str, Dataset]
    origin: str  # as in `DataRecord`
    completeness: Completeness
    sha256: str  # hexadecimal; over the texts and labels of all splits, in order
    left_out: tuple[LeftOut, ...] = ()  # chat tasks: the malformed trees
    skipped: Mapping[str, int] = field(default_factory=dict)  # chat tasks: why unwanted -> well-formed trees

    def record(self) -> DataRecord:
        """What a result says of its data."""
        rows = {split: len(dataset) for split, dataset in self.splits.items()}
        left_out = Counter(tree.reason for tree in self.left_out) + Counter(self.skipped)
        return DataRecord(
            origin=self.origin, completeness=self.completeness, rows=rows, left_out=dict(left_out)
        )


def load_data(task: Task | ChatTask, source: str) -> TaskData:
    """Read and check a task's train and dev splits.

    Args:
        task: a task of GLUE, or a user's.
        source: "hub", "demo" or a directory; a user's task names its own files and takes only "hub".

    Raises:
        InputError: the data is not there, or a row is not what it should be; says the file and line. Or the
            task is one of chat, which `chat.data.load_chat` reads.
    """
    if isinstance(task, ChatTask):
        raise InputError(f"--task {task.name}: conversations, where texts to classify are needed")
    origin, found = _read(task, source)
    splits = {split: _check(task, rows) for split, rows in found.items()}
    return TaskData(task, splits, origin, _completeness(task, source, splits), digest(task, splits))


def _read(task: Task, source: str) -> tuple[str, dict[str, Rows]]:
    """Where the data is from, in words, and its splits."""
    if task.files is not None:
        if source != "hub":
            raise InputError(
                f"--data: {task.name} names its own files, {source!r} cannot replace them: leave it out"
            )
        needed, names = (*task.text, "label"), {"label": task.label}
        files = {split: Path(file) for split, file in task.files.items()}
        origin = f"files: {', '.join(path.name for path in files.values())}"
        return origin, {split: read_rows(path, needed, names) for split, path in files.items()}
    if source == "demo":
        return "demo", read_folder(task, demo_folder(task.name).parent)
    if source == "hub":
        from .hub import read_hub

        datasets, commit = read_hub(task)
        return f"hub: nyu-mll/glue@{commit}", {
            split: _numbered(f"nyu-mll/glue {task.name} {split}", dataset.to_list())
            for split, dataset in datasets.items()
        }
    folder = Path(source)
    return f"folder: {folder.resolve().name}", read_folder(task, folder)


def _numbered(source: str, rows: Iterable[Row]) -> Rows:
    return Rows(source, enumerate(rows, 1), by_line=False)


def _check(task: Task, rows: Rows) -> Dataset:
    """One split in our form.

    Raises:
        InputError: there are no rows, or one has no proper text or label; says its place.
    """
    label_column = rows.names.get("label", "label")
    text_columns = [rows.names.get(column, column) for column in task.text]
    ids = _class_ids(task)
    idx, labels, texts = [], [], []
    for number, row in rows.numbered:
        try:
            texts.append([as_text(column, row[column]) for column in text_columns])
            if not any(texts[-1]):
                raise ValueError(f"no text in {' or '.join(text_columns)}")
            labels.append(_label(task, ids, row[label_column]))
        except ValueError as error:
            raise InputError(f"{rows.place(number)}: {error}") from None
        idx.append(row.get("idx"))
    if not labels:
        raise InputError(f"{rows.source}: empty: there is no row to train or test on")
    if task.files is not None or len({i for i in idx if type(i) is int}) < len(idx):
        idx = range(len(idx))
    columns = dict(zip(task.text, zip(*texts, strict=True), strict=True))
    features = {"idx": Value("int64"), **dict.fromkeys(task.text, Value("string"))}
    features["label"] = Value("float32" if task.is_regression else "int64")
    return Dataset.from_dict({"idx": idx, **columns, "label": labels}, features=Features(features))


def as_text(column: str, value: object) -> str:
    """The value of a text column.

    Raises:
        ValueError: it is no text; says what it is.
    """
    if not isinstance(value, str):
        raise ValueError(f"{column} is {'missing' if value is None else repr(value)}, not a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{column} holds half a surrogate pair, which is no character") from None
    return value


def _class_ids(task: Task) -> dict[str, int]:
    """What a label may be, written out, and its id: a class name, or an id where no name is a number."""
    ids = {name: i for i, name in enumerate(task.labels or ())}
    if not any(name.lstrip("-").isdigit() for name in ids):
        ids |= {str(i): i for i in range(len(ids))}
    return ids


def _label(task: Task, ids: dict[str, int], value: object) -> int | float:
    if value is None or value == "" or value != value:
        raise ValueError("the label is missing")
    if task.is_regression:
        return _score(task, value)
    name = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if name not in ids:
        hidden = ": -1 marks a label that is kept secret, as in test splits" if name == "-1" else ""
        raise ValueError(f"label {value!r} is not one of {', '.join(ids)}{hidden}")
    return ids[name]


def _score(task: Task, value: object) -> float:
    lowest, highest = task.range or (-math.inf, math.inf)
    try:
        score = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        )
    except ValueError:
        score = math.nan
    if not (math.isfinite(score) and lowest <= score <= highest):
        bounds = f" from {lowest:g} to {highest:g}" if task.range else ""
        raise ValueError(f"label {value!r} is not a number{bounds}")
    return score


def _completeness(task: Task, source: str, splits: dict[str, Dataset]) -> Completeness:
    if source == "demo":
        return "synthetic"
    if task.rows is None:
        return "custom"
    if any(len(dataset) < task.rows[split] for split, dataset in splits.items()):
        return "partial"
    return (
        "complete" if all(len(dataset) == task.rows[split] for split, dataset in splits.items()) else "custom"
    )


def digest(task: Task | ChatTask, splits: dict[str, Dataset]) -> str:
    """SHA-256, hexadecimal, over the texts and labels, where there are any, of all splits, in order."""
    names = ("messages",) if isinstance(task, ChatTask) else (*task.text, "label")
    sha256 = hashlib.sha256()
    for split, dataset in splits.items():
        columns = dataset[:]
        hashed = [columns[name] for name in names if name in columns]
        sha256.update(json.dumps([split, *hashed]).encode())
    return sha256.hexdigest()


DEMO = Path(__file__).parent / "demo"


def read_folder(task: Task, folder: Path) -> dict[str, Rows]:
    """The train and dev splits of a GLUE task; no other file is read.

    Looked for in turn: `cola/train.jsonl.gz`, `cola/train.jsonl`, and the classic `CoLA/train.tsv`.

    Raises:
        InputError: no such directory, or a split is not in it; says what was looked for and what is there.
    """
    if not folder.is_dir():
        raise InputError(
            f"--data: no directory {str(folder)!r}: give hub, demo or a directory with GLUE in it"
        )
    return {split: _read_split(task, folder, split) for split in (task.train, *task.dev)}


def demo_folder(task: str) -> Path:
    """Returns the folder with the synthetic data of a task, which come with the package.

    The splits of a task share their grammar and hardly a noun or name, so that a score on the dev split shows
    what was learned and not what was seen.

    Raises:
        InputError: the task has none.
    """
    folder = DEMO / task
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in DEMO.iterdir()))
        raise InputError(f"--data demo: there is no synthetic data for {task}, only for {names}")
    return folder


def read_test_split(task: Task, folder: Path, split: HiddenSplit) -> Rows | None:
    """A test split of a GLUE task; None where it is not there and need not be.

    Raises:
        InputError: it is not there; says what was looked for.
    """
    files = [f"{split.place}.jsonl.gz", f"{split.place}.jsonl", split.tsv]
    path = next((folder / file for file in files if (folder / file).is_file()), None)
    if path is None and split.optional:
        return None
    if path is None:
        raise InputError(
            f"--predict-test: no {split.name} split of {task.name} in {folder}: looked for {', '.join(files)}"
        )
    return read_rows(path, task.text, task.tsv.columns if path.suffix == ".tsv" else {})


def glue_tasks(folder: Path) -> list[str]:
    """The GLUE tasks whose train split is in a directory."""
    return [name for name in task_names() if _find(get_task(name), folder, "train")]


def _read_split(task: Task, folder: Path, split: str) -> Rows:
    path = _find(task, folder, split)
    if path is None:
        looked_for = ", ".join(_candidates(task, split))
        raise InputError(
            f"--data: no {split} split of {task.name} in {folder}: looked for {looked_for}; "
            f"tasks there: {', '.join(glue_tasks(folder)) or 'none'}"
        )
    needed = (*task.text, "label")
    if path.suffix == ".tsv":
        return read_rows(path, needed, task.tsv.columns, task.tsv.header)
    return read_rows(path, needed, {})


def _candidates(task: Task, split: str) -> list[str]:
    files = [f"{task.name}/{split}.jsonl.gz", f"{task.name}/{split}.jsonl"]
    return [*files, f"{task.tsv.folder}/{task.tsv.files[split]}"] if task.tsv else files


def _find(task: Task, folder: Path, split: str) -> Path | None:
    return next((folder / file for file in _candidates(task, split) if (folder / file).is_file()), None)
