"""Where a chat task's messages come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ...errors import InputError
from ...store.schema import Completeness
from ..folder import demo_folder, glue_tasks
from .messages import ENDINGS, FORM, Message, is_message_file, read_messages
from .task import ChatTask


@dataclass(frozen=True)
class Source:
    """A place that was found."""

    origin: str  # as in `DataRecord`
    completeness: Completeness
    splits: dict[str, Iterator[Message]]  # each in any order; the train split alone where all is in one file


def find_source(task: ChatTask, source: str) -> Source:
    """Find the messages of each split; they are read as they are asked for.

    Args:
        source: "hub", "demo", a file or a directory.

    Raises:
        InputError: they are not there; says what was looked for.
    """
    if source == "demo":
        folder = demo_folder(task.name)
        splits = {split: _in_folder(task, folder, split) for split in (task.train, *task.dev)}
        return Source("demo", "synthetic", splits)
    if source == "hub":
        from .hub import read_hub

        splits, commit = read_hub(task)
        return Source(f"hub: {task.hub}@{commit}", "complete", splits)
    path = Path(source)
    if path.is_file() and is_message_file(path):
        return Source(f"file: {path.name}", "custom", {task.train: read_messages(path)})
    if path.is_file():
        raise InputError(f"--data {source}: {task.name} is read from files with {FORM}")
    if not path.is_dir():
        raise InputError(
            f"--data: no file or directory {source!r}: give hub, demo, a file with {FORM}, or a directory "
            f"with such files for {' and '.join((task.train, *task.dev))}"
        )
    splits = {split: _in_folder(task, path, split) for split in (task.train, *task.dev)}
    return Source(f"folder: {path.resolve().name}", "custom", splits)


def _in_folder(task: ChatTask, folder: Path, split: str) -> Iterator[Message]:
    """One of `train.jsonl`, `train.trees.jsonl.gz` and the like, or the hub's `data/train-*.parquet`."""
    files = sorted(path for path in folder.glob(f"{split}.*") if is_message_file(path))
    if len(files) > 1:
        raise InputError(
            f"--data: {' and '.join(path.name for path in files)} in {folder} are both for {split}: keep one"
        )
    files = files or sorted(folder.glob(f"data/{split}-*.parquet"))
    if not files:
        glue = glue_tasks(folder)
        holds = f"; it holds GLUE ({', '.join(glue)}), which {task.name} is no part of" if glue else ""
        raise InputError(
            f"--data: no {split} split of {task.name} in {folder}: looked for {split} with "
            f"{', '.join(ENDINGS)}, and data/{split}-*.parquet{holds}"
        )
    return chain.from_iterable(read_messages(file) for file in files)
