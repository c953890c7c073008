"""Test splits of GLUE, small ones in the place of the leaderboard's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.task import LEADERBOARD

from .glue_files import HEADERS, THEIRS, rows_of, write_jsonl

ROWS = 6  # of every small test split


def shrink_leaderboard(monkeypatch: pytest.MonkeyPatch, rows: int = ROWS) -> None:
    """Every official test split has so many rows until the test ends."""
    for task, splits in LEADERBOARD.items():
        small = tuple(dataclasses.replace(split, rows=rows) for split in splits)
        monkeypatch.setitem(LEADERBOARD, task, small)


def hidden_rows(task: str, count: int = ROWS) -> list[dict]:
    """Rows as a test split has them: with idx, and -1 for a label."""
    return [{**row, "label": -1} for row in rows_of(get_task(task), count)]


def write_hidden(folder: Path, task: str, count: int = ROWS, ax: bool = True) -> Path:
    """The test splits of a task as JSON lines."""
    for split in LEADERBOARD[task]:
        if ax or not split.optional:
            write_jsonl(folder / f"{split.place}.jsonl.gz", hidden_rows(task, count))
    return folder


def write_hidden_tsv(folder: Path, task: str, rows: list[dict]) -> Path:
    """The test splits of a task as the `glue_data` download script leaves them: no label column."""
    theirs = THEIRS.get(task, {})
    header = HEADERS.get(task, "index sentence").split("|" if task == "mrpc" else " ")
    labels = {theirs.get("label", "label"), "label1"}
    header = [name for name in header if name not in labels]
    lines = [header]
    for row in rows:
        cells = {theirs.get(name, name): str(value) for name, value in row.items()}
        lines.append([cells.get(name, "none") for name in header])
    for split in LEADERBOARD[task]:
        path = folder / split.tsv
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join("\t".join(line) + "\n" for line in lines).encode())
    return folder
