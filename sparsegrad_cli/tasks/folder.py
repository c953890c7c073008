"""GLUE in a directory, in either of the layouts it is handed around in."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from . import get_task, task_names
from .leaderboard import HiddenSplit
from .rows import Rows, read_rows
from .task import Task

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
