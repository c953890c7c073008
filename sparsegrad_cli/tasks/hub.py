"""GLUE from the Hugging Face hub: `nyu-mll/glue`, a folder a task, in it the parquet files of each split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from pyarrow import ArrowException
from pyarrow.parquet import read_table

from ..errors import InputError
from ..models.checkpoint import Repository, fetch
from .task import HiddenSplit, Task

GLUE = Repository("nyu-mll/glue", "dataset", "--data hub", "a directory of GLUE files or --data demo")


def read_hub(task: Task) -> tuple[dict[str, Dataset], str]:
    """Read a GLUE task's train and dev splits, and no other, from the hub or its cache.

    Returns:
        The splits with the columns they have there, in memory; and the commit of `nyu-mll/glue`.

    Raises:
        InputError: the hub cannot be asked and the cache has no copy, or a split is not in it.
        WorkError: the hub's cache cannot be written.
    """
    splits = (task.train, *task.dev)
    folder = fetch(GLUE, [f"{task.name}/{split}-*.parquet" for split in splits])
    return {split: read_split(GLUE, folder, task.name, split) for split in splits}, folder.name


def read_hidden(hidden: Sequence[HiddenSplit], commit: str) -> dict[str, Dataset]:
    """Test splits of a GLUE task by their names, as they were at a commit of `nyu-mll/glue`.

    Raises:
        InputError: one that must be there is neither on the hub nor in its cache.
        WorkError: the hub's cache cannot be written.
    """
    folder = fetch(GLUE, [f"{split.place}-*.parquet" for split in hidden], commit)
    return {
        split.name: read_split(GLUE, folder, *split.place.split("/"))
        for split in hidden
        if not split.optional or any(folder.glob(f"{split.place}-*.parquet"))
    }


def read_split(
    repository: Repository, folder: Path, under: str, split: str, columns: Sequence[str] | None = None
) -> Dataset:
    """All files of a split in order; each says how many they are: `train-00000-of-00002.parquet`.

    Args:
        folder: the snapshot of the repository, named from its commit.
        under: the folder in it that has the split.
        columns: the ones to read; None: all.

    Raises:
        InputError: a file is not there or cannot be read.
    """
    files = sorted((folder / under).glob(f"{split}-*.parquet"))
    # some files have a part of their hash in the name: `train-00000-of-00001-b42a775f407cee45.parquet`
    numbers = [re.search(r"-of-(\d+)(-[0-9a-f]+)?\.parquet$", file.name) for file in files]
    if not files or any(number is None or int(number[1]) != len(files) for number in numbers):
        there = ", ".join(file.name for file in files) or "none of its files"
        raise InputError(
            f"{repository.option}: of split {split} of {repository.id} {under} at commit {folder.name} "
            f"there is {there}; read it once with the hub in reach, or take {repository.instead}"
        )
    try:
        return Dataset(read_table(files, columns=None if columns is None else list(columns)))
    except (ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{repository.option}: {files[0]} cannot be read ({reason}): delete it and read it anew"
        ) from None
