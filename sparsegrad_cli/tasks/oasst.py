"""Load the conversations of a chat task as threads, checked and in one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from datasets import Dataset, Features, Value

from ..errors import InputError
from ..models.checkpoint import Repository, fetch
from ..store.schema import Completeness
from .hub import read_split
from .load import TaskData, demo_folder, digest, glue_tasks
from .rows import Rows
from .task import ChatTask, LeftOut
from .threads import (
    ALL,
    ENDINGS,
    FORM,
    MESSAGE_COLUMNS,
    OPTIONAL,
    ROLES,
    Forest,
    Message,
    Thread,
    draw_trees,
    grow,
    is_message_file,
    messages_of,
    read_messages,
)

VALIDATION_SHARE = 0.1  # of the trees of a source that has only one split
COLUMNS = Features(
    {
        "idx": Value("int64"),
        "tree": Value("string"),
        "messages": [{"role": Value("string"), "content": Value("string")}],
    }
)


def load_chat(task: ChatTask, source: str, languages: Sequence[str] = ("en",)) -> TaskData:
    """Read a chat task's train and dev splits and walk their trees to threads.

    Args:
        task: a chat task.
        source: "hub", "demo", a file, or a directory with a file for each split. Of a single file's trees a
            tenth, and at least one, is the dev split.
        languages: codes such as "en", or "all".

    Returns:
        A split's columns are `idx` (int64, the thread's place in the split), `tree` (string) and `messages`:
        a list of {"role": "user" or "assistant", "content": string} that begins with the user, alternates
        and ends with the assistant. Malformed trees are in `left_out`, others that gave nothing in `skipped`.

    Raises:
        InputError: the data is not there, a line is no message, or no thread is left for a split.
    """
    languages = tuple(dict.fromkeys(languages))
    found = find_source(task, source)
    forests = {split: grow(messages, languages) for split, messages in found.splits.items()}
    _check_languages(found, forests, languages)
    origin = f"{found.origin} ({', '.join(languages)})"
    threads = {split: forest.threads for split, forest in forests.items()}
    for split in threads:
        if not threads[split]:
            raise InputError(f"--data {source}: {_nothing_left(split, forests[split])}")
    if set(threads) == {task.train}:
        trees = {thread.tree for thread in threads[task.train]}
        if len(trees) == 1:
            raise InputError(f"--data {source}: one tree of messages cannot be split in train and validation")
        dev = draw_trees(trees, max(1, int(VALIDATION_SHARE * len(trees))))
        origin += f", {len(dev)} of {len(trees)} trees for {task.dev[0]}"
        threads = {
            task.train: [thread for thread in threads[task.train] if thread.tree not in dev],
            task.dev[0]: [thread for thread in threads[task.train] if thread.tree in dev],
        }
    splits = {split: _dataset(found_threads) for split, found_threads in threads.items()}
    left_out: list[LeftOut] = []
    skipped: Counter[str] = Counter()
    for forest in forests.values():
        left_out += forest.left_out
        skipped += forest.skipped
    sha256 = digest(task, splits)
    return TaskData(task, splits, origin, found.completeness, sha256, tuple(left_out), skipped)


def _check_languages(found: Source, forests: dict[str, Forest], languages: Sequence[str]) -> None:
    spoken = sum((forest.languages for forest in forests.values()), Counter())
    if not spoken:
        raise InputError(f"--data: {found.origin}: empty: there is no message")
    for language in languages:
        if language != ALL and language not in spoken:
            there = ", ".join(f"{code} ({trees:,})" for code, trees in spoken.most_common())
            raise InputError(
                f"--language: no conversation in {language!r}; {found.origin} has (trees): {there}; or all"
            )


def _nothing_left(split: str, forest: Forest) -> str:
    reasons = Counter(tree.reason for tree in forest.left_out) + forest.skipped
    why = ", ".join(f"{reason}: {trees:,}" for reason, trees in reasons.most_common())
    first = f"; the first malformed tree: {forest.left_out[0].place}" if forest.left_out else ""
    return f"no conversation is left for {split}: trees by what is wrong: {why}{first}"


def _dataset(threads: Sequence[Thread]) -> Dataset:
    messages = [
        [{"role": ROLES[message.role], "content": message.text} for message in thread.messages]
        for thread in threads
    ]
    trees = [thread.tree for thread in threads]
    return Dataset.from_dict({"idx": range(len(threads)), "tree": trees, "messages": messages}, COLUMNS)


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
        rows = read_split(repository, folder, "data", split, (*MESSAGE_COLUMNS, *OPTIONAL)).to_list()
        read[split] = messages_of(Rows(f"{task.hub} {split}", enumerate(rows, 1), by_line=False))
    return read, folder.name
