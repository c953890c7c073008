"""Conversations from the Hugging Face hub: parquet files of messages in the folder `data`."""

from __future__ import annotations

from collections.abc import Iterator

from ...models.hub import Repository, fetch
from ..hub import read_split
from ..rows import Rows
from .messages import COLUMNS, FORM, OPTIONAL, Message, messages_of
from .task import ChatTask


def read_hub(task: ChatTask) -> tuple[dict[str, Iterator[Message]], str]:
    """Read a chat task's train and dev splits, and no other, from the hub or its cache.

    Returns:
        The messages of each split, made as they are asked for; and the commit of the data set.

    Raises:
        InputError: the hub cannot be asked and the cache has no copy, or a split is not in it.
        WorkError: the hub's cache cannot be written.
    """
    repository = Repository(task.hub, "dataset", "--data hub", f"a file with {FORM} or --data demo")
    splits = (task.train, *task.dev)
    folder = fetch(repository, [f"data/{split}-*.parquet" for split in splits])
    read = {}
    for split in splits:
        rows = read_split(repository, folder, "data", split, (*COLUMNS, *OPTIONAL)).to_list()
        read[split] = messages_of(Rows(f"{task.hub} {split}", enumerate(rows, 1), by_line=False))
    return read, folder.name
