"""Rows of the GLUE tasks, written in the layouts that GLUE comes in."""

import gzip
import json
from pathlib import Path

import pytest

from sparsegrad_cli.tasks import get_task, text_tasks
from sparsegrad_cli.tasks.load import TaskData
from sparsegrad_cli.tasks.task import Task

HEADERS = {  # first line of the files in the classic `glue_data` folder
    "sst2": "sentence label",
    "mrpc": "Quality|#1 ID|#2 ID|#1 String|#2 String",
    "stsb": "index genre filename year old_index source1 source2 sentence1 sentence2 score",
    "qqp": "id qid1 qid2 question1 question2 is_duplicate",
    "mnli": "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2 label1 gold_label",
    "qnli": "index question sentence label",
    "rte": "index sentence1 sentence2 label",
    "wnli": "index sentence1 sentence2 label",
}
THEIRS = {  # what a column of ours is called there
    "mrpc": {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
    "stsb": {"label": "score"},
    "qqp": {"label": "is_duplicate"},
    "mnli": {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
}
LABEL_WORDS = ("mnli", "qnli", "rte")
TEST_ROWS = 6  # of every small test split
TEXTS = ('say "so', "two  spaces ", "naïve\u2028line\x85end", "''", "a, b; c", "\u4f60\u597d")


def rows_of(task: Task, count: int = 5) -> list[dict]:
    """Rows with texts that careless readers change."""
    columns = [
        {c: f"{TEXTS[(i + j) % len(TEXTS)]} {i}" for j, c in enumerate(task.text)} for i in range(count)
    ]
    labels = [i % 5 + 0.25 if task.is_regression else i % len(task.labels) for i in range(count)]
    return [{**columns[i], "label": labels[i], "idx": i} for i in range(count)]


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_jsonl_folder(folder: Path, task: Task, rows: list[dict]) -> Path:
    for split in (task.train, *task.dev):
        write_jsonl(folder / task.name / f"{split}.jsonl.gz", rows)
    return folder


def write_tsv(path: Path, task: Task, rows: list[dict], end: str = "\n") -> None:
    """As the `glue_data` download script leaves it; CoLA has no header line."""
    if task.name == "cola":
        lines = [["gj04", str(row["label"]), "", row["sentence"]] for row in rows]
    else:
        header = HEADERS[task.name].split("|" if "|" in HEADERS[task.name] else " ")
        lines = [header]
        for row in rows:
            label = task.labels[row["label"]] if task.name in LABEL_WORDS else row["label"]
            theirs = THEIRS.get(task.name, {})
            cells = {theirs.get(name, name): str(value) for name, value in {**row, "label": label}.items()}
            lines.append([cells.get(name, "none") for name in header])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join("\t".join(line) + end for line in lines).encode())


def write_tsv_folder(folder: Path, task: Task, rows: list[dict], **how: str) -> Path:
    names = {
        "validation": "dev",
        "validation_matched": "dev_matched",
        "validation_mismatched": "dev_mismatched",
    }
    places = {"cola": "CoLA", "sst2": "SST-2", "stsb": "STS-B"}
    for split in (task.train, *task.dev):
        place = places.get(task.name, task.name.upper())
        write_tsv(folder / place / f"{names.get(split, split)}.tsv", task, rows, **how)
    return folder


def contents(data: TaskData) -> dict[str, list[dict]]:
    return {split: dataset.to_list() for split, dataset in data.splits.items()}


def shrink_leaderboard(monkeypatch: pytest.MonkeyPatch, rows: int = TEST_ROWS) -> None:
    """Every official test split has so many rows until the test ends."""
    for name, task in text_tasks().items():
        small = tuple(split.model_copy(update={"rows": rows}) for split in task.test)
        monkeypatch.setitem(text_tasks(), name, task.model_copy(update={"test": small}))


def rows_without_labels(task: str, count: int = TEST_ROWS) -> list[dict]:
    """Rows as a test split has them: with idx, and -1 for a label."""
    return [{**row, "label": -1} for row in rows_of(get_task(task), count)]


def write_test_splits(folder: Path, task: str, count: int = TEST_ROWS, ax: bool = True) -> Path:
    """The test splits of a task as JSON lines."""
    for split in get_task(task).test:
        if ax or not split.optional:
            write_jsonl(folder / f"{split.path}.jsonl.gz", rows_without_labels(task, count))
    return folder


def write_test_splits_tsv(folder: Path, task: str, rows: list[dict]) -> Path:
    """The test splits of a task as the `glue_data` download script leaves them: no label column."""
    theirs = THEIRS.get(task, {})
    header = HEADERS.get(task, "index sentence").split("|" if task == "mrpc" else " ")
    labels = {theirs.get("label", "label"), "label1"}
    header = [name for name in header if name not in labels]
    lines = [header]
    for row in rows:
        cells = {theirs.get(name, name): str(value) for name, value in row.items()}
        lines.append([cells.get(name, "none") for name in header])
    for split in get_task(task).test:
        path = folder / split.tsv
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join("\t".join(line) + "\n" for line in lines).encode())
    return folder
