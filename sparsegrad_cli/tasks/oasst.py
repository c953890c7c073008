"""Load the conversations of a chat task as threads, checked and in one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, Features, Value

from ..errors import InputError
from ..store.records import Completeness
from .load import TaskData, demo_folder, digest, read_hub, tasks_in
from .splits import draw_rows
from .task import ChatTask
from .threads import (
    ALL,
    COLUMNS,
    ENDINGS,
    FORM,
    OPTIONAL,
    ROLES,
    Message,
    Thread,
    ThreadSet,
    build_threads,
    is_message_file,
    messages_of,
    read_messages,
)

VALIDATION_SHARE = 0.1  # of the threads of a source that has only one split
FEATURES = Features(
    {
        "idx": Value("int64"),
        "tree": Value("string"),
        "messages": [{"role": Value("string"), "content": Value("string")}],
    }
)


def load_chat(task: ChatTask, source: str, languages: Sequence[str] = ("en",)) -> TaskData:
    """Read a chat task's train and dev splits as threads.

    Args:
        task: a chat task.
        source: "hub", "demo", a file, or a directory with a file for each split. Of a single file about a
            tenth of the threads, and at least one tree, is the dev split.
        languages: codes such as "en", or "all".

    Returns:
        A split's columns are `idx` (int64, the thread's place in the split), `tree` (string) and `messages`:
        a list of {"role": "user" or "assistant", "content": string} that begins with the user, alternates
        and ends with the assistant. Malformed trees are in `left_out`, others that gave nothing in `skipped`.

    Raises:
        InputError: the data is not there, a line is no message, or no thread is left for a split.
    """
    languages = tuple(dict.fromkeys(languages))
    origin, completeness, messages = find_messages(task, source)
    sets = {split: build_threads(some, languages) for split, some in messages.items()}
    _check_languages(origin, sets, languages)
    origin += f" ({', '.join(languages)})"
    for split, thread_set in sets.items():
        if not thread_set.threads:
            raise InputError(f"--data {source}: {_nothing_left(split, thread_set)}")
    threads = {split: thread_set.threads for split, thread_set in sets.items()}
    if set(threads) == {task.train}:
        everything = threads[task.train]
        trees = pd.factorize(np.array([thread.tree for thread in everything], dtype=object))[0]
        if trees.max() == 0:
            raise InputError(f"--data {source}: one tree of messages cannot be split in train and validation")
        dev = set(draw_rows(trees, max(1, int(VALIDATION_SHARE * len(trees)))).tolist())
        origin += f", {len(dev)} of {len(trees)} threads for {task.dev[0]}"
        threads = {
            task.train: [thread for place, thread in enumerate(everything) if place not in dev],
            task.dev[0]: [thread for place, thread in enumerate(everything) if place in dev],
        }
    splits = {split: _dataset(some) for split, some in threads.items()}
    left_out = tuple(one for thread_set in sets.values() for one in thread_set.left_out)
    skipped = sum((thread_set.skipped for thread_set in sets.values()), Counter[str]())
    return TaskData(task, splits, origin, completeness, digest(task, splits), left_out, skipped)


def find_messages(task: ChatTask, source: str) -> tuple[str, Completeness, dict[str, Iterator[Message]]]:
    """Find the messages of each split; they are read as they are asked for.

    Args:
        source: "hub", "demo", a file or a directory.

    Returns:
        Origin and completeness, as in `DataRecord`; and split -> messages in any order, of the train split
        alone where all is in one file.

    Raises:
        InputError: they are not there; says what was looked for.
    """
    splits = (task.train, *task.dev)
    if source == "hub":
        places = {split: f"{task.hub.config}/{split}" for split in splits}
        read, commit = read_hub(task, places, COLUMNS, OPTIONAL)
        found = {split: messages_of(rows) for split, rows in read.items()}
        return f"hub: {task.hub.id}@{commit}", "complete", found
    path = demo_folder(task.name) if source == "demo" else Path(source)
    if path.is_file() and is_message_file(path):
        return f"file: {path.name}", "custom", {task.train: read_messages(path)}
    if path.is_file():
        raise InputError(f"--data {source}: {task.name} is read from files with {FORM}")
    if not path.is_dir():
        raise InputError(
            f"--data: no file or directory {source!r}: give hub, demo, a file with {FORM}, or a directory "
            f"with such files for {' and '.join(splits)}"
        )
    found = {split: _messages_in(task, path, split) for split in splits}
    if source == "demo":
        return "demo", "synthetic", found
    return f"folder: {path.resolve().name}", "custom", found


def _messages_in(task: ChatTask, folder: Path, split: str) -> Iterator[Message]:
    """Read one of `train.jsonl`, `train.trees.jsonl.gz` and the like, or the hub's `data/train-*.parquet`."""
    files = sorted(path for path in folder.glob(f"{split}.*") if is_message_file(path))
    if len(files) > 1:
        raise InputError(
            f"--data: {' and '.join(path.name for path in files)} in {folder} are both for {split}: keep one"
        )
    files = files or sorted(folder.glob(f"data/{split}-*.parquet"))
    if not files:
        glue = tasks_in(folder)
        holds = f"; it holds GLUE ({', '.join(glue)}), which {task.name} is no part of" if glue else ""
        raise InputError(
            f"--data: no {split} split of {task.name} in {folder}: looked for {split} with "
            f"{', '.join(ENDINGS)}, and data/{split}-*.parquet{holds}"
        )
    return chain.from_iterable(read_messages(file) for file in files)


def _check_languages(origin: str, sets: dict[str, ThreadSet], languages: Sequence[str]) -> None:
    there = sum((thread_set.languages for thread_set in sets.values()), Counter[str]())
    if not there:
        raise InputError(f"--data: {origin}: empty: there is no message")
    for language in languages:
        if language != ALL and language not in there:
            listed = ", ".join(f"{code} ({trees:,})" for code, trees in there.most_common())
            raise InputError(
                f"--language: no conversation in {language!r}; {origin} has (trees): {listed}; or all"
            )


def _nothing_left(split: str, thread_set: ThreadSet) -> str:
    reasons = Counter(tree.reason for tree in thread_set.left_out) + thread_set.skipped
    why = ", ".join(f"{reason}: {trees:,}" for reason, trees in reasons.most_common())
    first = f"; the first malformed tree: {thread_set.left_out[0].place}" if thread_set.left_out else ""
    return f"no conversation is left for {split}: trees by what is wrong: {why}{first}"


def _dataset(threads: Sequence[Thread]) -> Dataset:
    messages = [
        [{"role": ROLES[message.role], "content": message.text} for message in thread.messages]
        for thread in threads
    ]
    trees = [thread.tree for thread in threads]
    return Dataset.from_dict({"idx": range(len(threads)), "tree": trees, "messages": messages}, FEATURES)
