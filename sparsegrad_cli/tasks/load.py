"""Load the splits of a task from the hub, a folder, the package's synthetic data or a user's files.

Whatever the source, a split is a `Dataset` with the columns `idx` (int64: the source's own where it numbers
every row, else the row's place from 0), the text columns (string) and, but for test splits, `label` (int64
class id; float32 for regression).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, Features, Value

from ..errors import InputError
from ..models.hub import Repository, fetch
from ..store.records import Completeness, DataRecord
from . import text_tasks
from .rows import InvalidRowError, Rows, as_text, parquet_rows, read_rows
from .task import DEFINITION, ChatTask, Task

DEMO = Path(__file__).parent / "demo"  # a folder in the layout of GLUE's JSON lines
SHOWN = 10  # invalid rows that a message lists


@dataclass(frozen=True)
class LeftOut:
    """A row or a conversation tree of the source that is not used."""

    name: str  # "row", or "tree <id>"
    reason: str
    place: str  # file and line


@dataclass(frozen=True)
class TaskData:
    """A task's examples, split by split. `oasst.py` says which columns a chat task's have."""

    task: Task | ChatTask
    splits: dict[str, Dataset]
    origin: str  # as in `DataRecord`
    completeness: Completeness
    sha256: str  # hexadecimal; see `digest`
    left_out: tuple[LeftOut, ...] = ()  # invalid rows, malformed trees
    # chat tasks: why not wanted -> well-formed trees
    skipped: Mapping[str, int] = field(default_factory=dict)

    def record(self) -> DataRecord:
        """Returns what a result says of its data."""
        rows = {split: len(dataset) for split, dataset in self.splits.items()}
        left_out = Counter(one.reason for one in self.left_out) + Counter(self.skipped)
        return DataRecord(
            origin=self.origin, completeness=self.completeness, rows=rows, left_out=dict(left_out)
        )


def load_data(task: Task | ChatTask, source: str) -> TaskData:
    """Read and check a task's train and dev splits.

    Args:
        task: a text task, built in or a user's.
        source: "hub", "demo" or a directory; a user's task that names its files takes only "hub", the default
            of --data.

    Raises:
        InputError: the data is not there, or a row is not what it should be; says the file and line. Or the
            task is one of chat, which `load_chat` reads.
    """
    if isinstance(task, ChatTask):
        raise InputError(f"--task {task.name}: conversations, where texts to classify are needed")
    splits, left_out = {}, list[LeftOut]()
    origin, found = _find_splits(task, source)
    for split, rows in found.items():
        splits[split], invalid = _read_split(task, rows)
        left_out += invalid
    completeness = "synthetic" if source == "demo" else _completeness(task.rows, splits)
    return TaskData(task, splits, origin, completeness, digest(task, splits), tuple(left_out))


def load_test(data: TaskData, source: str) -> TaskData:
    """Read the test splits that belong with a task's train and dev splits.

    MNLI's are matched and mismatched, and GLUE's diagnostic set `ax` where the source has it.

    Args:
        data: the task's train and dev splits.
        source: where they are from, as `load_data` takes it.

    Returns:
        Splits without labels, whatever the label column of the source says.

    Raises:
        InputError: the task or the source has no test split, or a row is not what it should be.
    """
    task = data.task
    if isinstance(task, ChatTask):
        raise InputError(f"--predict-test: {task.name} has no test split: leave it out")
    if not task.test:
        raise InputError(
            f"--predict-test: {task.name} has no test split; only GLUE's have a leaderboard: leave it out"
        )
    if source == "demo":
        raise InputError(
            "--predict-test: the synthetic tasks of --data demo have no test split: give --data hub or a "
            "directory with GLUE's test files"
        )
    found: dict[str, Rows] = {}
    if source == "hub":
        places = {split.name: split.path for split in task.test}
        optional = {split.name for split in task.test if split.optional}
        commit = data.origin.rpartition("@")[2]
        found, _ = read_hub(task, places, task.text, ["idx"], commit, optional)
    else:
        for split in task.test:
            files = [f"{split.path}.jsonl.gz", f"{split.path}.jsonl", split.tsv]
            rows = _folder_rows(task, Path(source), files, task.text)
            if rows is not None:
                found[split.name] = rows
            elif not split.optional:
                where = f"no {split.name} split of {task.name} in {source}"
                raise InputError(f"--predict-test: {where}: looked for {', '.join(files)}")
    splits = {name: _read_split(task, rows, labelled=False)[0] for name, rows in found.items()}
    whole = {split.name: split.rows for split in task.test} == {name: len(s) for name, s in splits.items()}
    return TaskData(task, splits, data.origin, "complete" if whole else "partial", digest(task, splits))


def digest(task: Task | ChatTask, splits: Mapping[str, Dataset]) -> str:
    """Returns the SHA-256 over what decides a run's numbers: the task's definition and its rows.

    The definition is the keys of `DEFINITION` that differ from their defaults; of the rows the texts and
    labels count, where there are any, of all splits, in order.
    """
    names = ("messages",) if isinstance(task, ChatTask) else (*task.text, "label")
    keys = DEFINITION & set(type(task).model_fields)
    definition = task.model_dump(mode="json", include=keys, exclude_defaults=True)
    sha256 = hashlib.sha256(json.dumps(definition, sort_keys=True).encode())
    for split, dataset in splits.items():
        columns = dataset[:]
        hashed = [columns[name] for name in names if name in columns]
        sha256.update(json.dumps([split, *hashed]).encode())
    return sha256.hexdigest()


def tasks_in(folder: Path) -> list[str]:
    """Returns the names of the built-in text tasks whose train split is in a directory."""
    return [name for name, task in text_tasks().items() if _first_file(folder, _candidates(task, task.train))]


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


def read_hub(
    task: Task | ChatTask,
    places: Mapping[str, str],
    needed: Sequence[str],
    more: Sequence[str] = (),
    commit: str | None = None,
    optional: Container[str] = (),
) -> tuple[dict[str, Rows], str]:
    """Read splits of a task from its data set on the hub, or from the hub's cache.

    Args:
        places: split -> its folder and name in the repository, such as `cola/train`.
        needed: our names of the columns that every split must have.
        more: columns to read where there are such.
        commit: the revision; None takes the newest, or the newest in the cache.
        optional: splits that need not be there.

    Returns:
        The rows of each split; and the commit.

    Raises:
        InputError: the task names no data set, the hub cannot be asked and the cache has no copy, or a split
            or column is not in it.
        WorkError: the hub's cache cannot be written.
    """
    if task.hub is None:
        raise InputError(
            f"--data hub: {task.name} names no data set on the hub: give the directory that holds its files"
        )
    instead = f"a directory with the files of {task.name}"
    instead += " or --data demo" if (DEMO / task.name).is_dir() else ""
    repository = Repository(task.hub.id, "dataset", "--data hub", instead)
    folder = fetch(repository, [f"{place}-*.parquet" for place in places.values()], commit)
    names, read = {"label": task.label} if isinstance(task, Task) else {}, {}
    columns = [names.get(column, column) for column in needed]
    for split, place in places.items():
        files = sorted(folder.glob(f"{place}-*.parquet"))
        if not files and split in optional:
            continue
        # each file says how many they are, some with a hash: train-00000-of-00002-b42a775f407cee45.parquet
        numbers = [re.search(r"-of-(\d+)(-[0-9a-f]+)?\.parquet$", file.name) for file in files]
        if not files or any(number is None or int(number[1]) != len(files) for number in numbers):
            there = ", ".join(file.name for file in files) or "none of its files"
            raise InputError(
                f"--data hub: of split {place} of {task.hub.id} at commit {folder.name} there is {there}; "
                f"read it once with the hub in reach, or take {instead}"
            )
        what, again = f"{task.hub.id} {place}", f": delete {files[0]} and read it again"
        rows = parquet_rows(files, f"--data hub: {what}", columns, more, again)
        read[split] = Rows(what, rows, by_line=False, names=names)
    return read, folder.name


def _find_splits(task: Task, source: str) -> tuple[str, dict[str, Rows]]:
    """Returns where the data is from, as in `DataRecord`, and the rows of the train and dev splits."""
    splits, needed = (task.train, *task.dev), (*task.text, "label")
    if task.files is not None:
        if source != "hub":
            raise InputError(
                f"--data: {task.name} names its own files, {source!r} cannot replace them: leave it out"
            )
        paths = {split: Path(task.files[split]) for split in splits}
        names = {"label": task.label}
        found = {split: read_rows(path, needed, names, task.columns) for split, path in paths.items()}
        return f"files: {', '.join(path.name for path in paths.values())}", found
    if source == "hub":
        config = task.hub.config if task.hub else ""
        places = {split: f"{config}/{split}" for split in splits}
        found, commit = read_hub(task, places, needed, more=["idx"])
        return f"hub: {task.hub.id if task.hub else ''}@{commit}", found
    folder = demo_folder(task.name).parent if source == "demo" else Path(source)
    if not folder.is_dir():
        raise InputError(
            f"--data: no directory {str(folder)!r}: give hub, demo or a directory with GLUE in it"
        )
    found = {}
    for split in splits:
        files = _candidates(task, split)
        rows = _folder_rows(task, folder, files, needed, task.tsv.columns if task.tsv else None)
        if rows is None:
            raise InputError(
                f"--data: no {split} split of {task.name} in {folder}: looked for {', '.join(files)}; "
                f"tasks there: {', '.join(tasks_in(folder)) or 'none'}"
            )
        found[split] = rows
    return "demo" if source == "demo" else f"folder: {folder.resolve().name}", found


def _candidates(task: Task, split: str) -> list[str]:
    """Returns `cola/train.jsonl.gz`, `cola/train.jsonl` and the classic `CoLA/train.tsv`."""
    files = [f"{task.name}/{split}.jsonl.gz", f"{task.name}/{split}.jsonl"]
    return [*files, f"{task.tsv.folder}/{task.tsv.files[split]}"] if task.tsv else files


def _first_file(folder: Path, files: Sequence[str]) -> Path | None:
    return next((folder / file for file in files if (folder / file).is_file()), None)


def _folder_rows(
    task: Task,
    folder: Path,
    files: Sequence[str],
    needed: Sequence[str],
    columns: tuple[str, ...] | None = None,
) -> Rows | None:
    """Returns the rows of the first file that is there; `columns` are those of a .tsv without a header."""
    path = _first_file(folder, files)
    if path is None:
        return None
    if path.suffix == ".tsv" and task.tsv:
        return read_rows(path, needed, task.tsv.names, columns)
    return read_rows(path, needed, {"label": task.label})


def _read_split(task: Task, rows: Rows, labelled: bool = True) -> tuple[Dataset, list[LeftOut]]:
    """Returns one split in our form, and the invalid rows that were left out of it.

    Args:
        labelled: False: a test split, where a row without text is one of the leaderboard's all the same.

    Raises:
        InputError: there are no rows, or some have no proper text or label and the task does not drop them.
    """
    text_columns = [rows.names.get(column, column) for column in task.text]
    label_column, ids = rows.names.get("label", "label"), _class_ids(task)
    texts, labels, idx = list[list[str]](), list[int | float](), list[object]()
    invalid: list[tuple[int, InvalidRowError]] = []
    for number, row in rows.numbered:
        try:
            if isinstance(row, InvalidRowError):
                raise row
            text = [as_text(column, row[column]) for column in text_columns]
            if labelled and not any(text):
                raise InvalidRowError(f"no text in {' or '.join(task.text)}", "no text")
            if labelled:
                labels.append(_label(task, ids, row[label_column]))
        except InvalidRowError as error:
            invalid.append((number, error))
            continue
        texts.append(text)
        idx.append(row.get("idx"))
    if invalid and (not texts or not labelled or not task.drop_invalid_rows):
        raise InputError(_describe_invalid(task, rows, invalid, len(texts)))
    if not texts:
        raise InputError(
            f"{rows.source}: empty: there is no row {'to train or test on' if labelled else 'to predict'}"
        )
    numbered_by_source = task.files is None and len({i for i in idx if type(i) is int}) == len(idx)
    columns: dict[str, object] = {"idx": idx if numbered_by_source else list(range(len(idx)))}
    columns |= dict(zip(task.text, zip(*texts, strict=True), strict=True))
    features = {"idx": Value("int64"), **dict.fromkeys(task.text, Value("string"))}
    if labelled:
        columns["label"] = labels
        features["label"] = Value("float32" if task.is_regression else "int64")
    left_out = [LeftOut("row", error.reason, rows.place(number)) for number, error in invalid]
    return Dataset.from_dict(columns, features=Features(features)), left_out


def _describe_invalid(task: Task, rows: Rows, invalid: list[tuple[int, InvalidRowError]], valid: int) -> str:
    """Returns the first invalid row with its place, and how many and which more there are."""
    number, error = invalid[0]
    message = f"{rows.place(number)}: {error}"
    if len(invalid) > 1:
        listed = ", ".join(str(number) for number, _ in invalid[:SHOWN])
        more = ", ..." if len(invalid) > SHOWN else ""
        what = "lines" if rows.by_line else "rows"
        message += f"; {len(invalid)} of {len(invalid) + valid} rows are invalid ({what} {listed}{more})"
    if not valid:
        return f"{message}: no row is left"
    if task.rows is None:
        message += "; mend them, or set drop_invalid_rows: true in the task to go on without"
    return message


def _class_ids(task: Task) -> dict[str, int]:
    """Returns what a label may be, written out, and its id: a class name, or an id if no name is a number."""
    ids = {name: i for i, name in enumerate(task.labels or ())}
    if not any(name.lstrip("-").isdigit() for name in ids):
        ids |= {str(i): i for i in range(len(ids))}
    return ids


def _label(task: Task, ids: dict[str, int], value: object) -> int | float:
    if value is None or value == "" or value != value:
        raise InvalidRowError("the label is missing", "no label")
    if task.is_regression:
        lowest, highest = task.range or (-math.inf, math.inf)
        score = math.nan
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):  # it stays NaN, which is refused below
                score = float(value)
        if math.isfinite(score) and lowest <= score <= highest:
            return score
        bounds = f" from {lowest:g} to {highest:g}" if task.range else ""
        raise InvalidRowError(f"label {value!r} is not a number{bounds}", "unknown label")
    name = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if name not in ids:
        hidden = ": -1 marks a label that is kept secret, as in test splits" if name == "-1" else ""
        raise InvalidRowError(f"label {value!r} is not one of {', '.join(ids)}{hidden}", "unknown label")
    return ids[name]


def _completeness(official: Mapping[str, int] | None, splits: Mapping[str, Dataset]) -> Completeness:
    if official is None:
        return "custom"
    sizes = {split: len(dataset) for split, dataset in splits.items()}
    if any(size < official[split] for split, size in sizes.items()):
        return "partial"
    return "complete" if all(size == official[split] for split, size in sizes.items()) else "custom"
