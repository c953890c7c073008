"""Conversations as OpenAssistant releases them: messages, put together to trees, read as threads.

A line is a tree (`message_tree_id`, `prompt` with nested `replies`), a message with nested `replies`, or one
message (`message_id`, `parent_id`, `message_tree_id`); a row of a parquet file is one message. What is nested
is laid flat, so that one check serves all forms. A thread is the path from a tree's root to a leaf.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
from datasets import Dataset, Features, Value

from ..errors import InputError
from ..store.records import Completeness
from .load import LeftOut, TaskData, demo_folder, digest, read_hub, tasks_in
from .rows import InvalidRowError, Row, Rows, as_text, read_rows
from .splits import draw_rows
from .task import ChatTask

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
FORM = f"OpenAssistant's trees or messages ({', '.join(ENDINGS)})"
COLUMNS = ("message_id", "parent_id", "message_tree_id", "text", "role", "lang")
OPTIONAL = ("tree_state", "deleted", "review_result")

ROLES = {"prompter": "user", "assistant": "assistant"}  # theirs -> ours
READY = "ready_for_export"  # the state of a tree that its moderators are done with
ALL = "all"  # every language

# why a well-formed tree is not wanted
OTHER_LANGUAGE, NOT_READY, NO_ANSWER = "other language", "not ready for export", "no answer"
VALIDATION_SHARE = 0.1  # of the threads of a source that has only one split
FEATURES = Features(
    {
        "idx": Value("int64"),
        "tree": Value("string"),
        "messages": [{"role": Value("string"), "content": Value("string")}],
    }
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, with what places it in its tree."""

    id: str
    parent: str | None  # the id of the message that it replies to; None: it begins its tree
    tree: str  # the id of the tree
    text: str
    role: str  # "prompter" or "assistant", if all is well
    lang: str  # a code such as "en" or "pt-BR"
    withdrawn: bool  # deleted, or refused by its reviewers: the release without spam leaves both out
    state: str | None  # the state of the tree; None: unknown
    place: str  # file and line, for messages to the user


@dataclass(frozen=True)
class Thread:
    """One path of a tree: begins with the user, alternates, ends with the assistant."""

    tree: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ThreadSet:
    """What the trees of one source gave; a tree gives threads, or it is in `left_out` or `skipped`."""

    threads: list[Thread]  # by tree, then by path; the order of the source does not matter
    left_out: tuple[LeftOut, ...]  # malformed trees
    skipped: Counter[str]  # why a tree was not wanted -> such trees
    languages: Counter[str]  # of all trees, wanted or not


class MalformedTreeError(Exception):
    """A tree cannot be used, because of this message."""

    def __init__(self, reason: str, message: Message) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


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
        trees = pd.Series([thread.tree for thread in everything]).factorize()[0]
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


def is_message_file(path: Path) -> bool:
    """Whether a file may hold messages, by its ending."""
    return path.name.lower().endswith(ENDINGS)


def read_messages(path: Path) -> Iterator[Message]:
    """Yield the messages of a file in any form; raises InputError, with the line, where it holds others."""
    needed = COLUMNS if path.suffix.lower() == ".parquet" else ()
    yield from messages_of(read_rows(path, needed, {}, optional=OPTIONAL))


def messages_of(rows: Rows) -> Iterator[Message]:
    """Yield the messages in rows of any form; raises InputError, with its place, at a row that is none."""
    for number, row in rows.numbered:
        place = rows.place(number)
        try:
            yield from _flatten(row, place)
        except InvalidRowError as error:
            raise InputError(f"{place}: {error}") from None


def build_threads(messages: Iterable[Message], languages: Collection[str]) -> ThreadSet:
    """Put messages, in any order, together to trees and take the threads of each.

    Args:
        languages: the codes of the wanted ones, or among them "all"; a tree's language is its first prompt's.
    """
    trees: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        trees[message.tree].append(message)
    threads, left_out = list[Thread](), list[LeftOut]()
    skipped, found_languages = Counter[str](), Counter[str]()
    for tree in sorted(trees):
        roots = [message for message in trees[tree] if message.parent is None]
        first = min(roots or trees[tree], key=lambda message: message.id)
        found_languages[first.lang] += 1
        if ALL not in languages and first.lang not in languages:
            skipped[OTHER_LANGUAGE] += 1
        elif first.state not in (None, READY):
            skipped[NOT_READY] += 1
        else:
            try:
                found = tree_to_threads(trees[tree])
            except MalformedTreeError as error:
                place = f"{error.message.place}, message {error.message.id}"
                left_out.append(LeftOut(f"tree {tree}", error.reason, place))
                continue
            threads.extend(found)
            if not found:
                skipped[NO_ANSWER] += 1
    return ThreadSet(threads, tuple(left_out), skipped, found_languages)


def tree_to_threads(tree: Sequence[Message]) -> list[Thread]:
    """Returns the threads of one tree, each once.

    A thread is the path from the root to a leaf, without the prompter's turn at its end, which nobody
    answered. A withdrawn message goes with all that is below it.

    Raises:
        MalformedTreeError: it is no tree, or a message in it cannot be used.
    """
    replies = _replies(tree)
    below = {id: [reply for reply in found if not reply.withdrawn] for id, found in replies.items()}
    above: dict[str, Message | None] = {}  # the messages that stay -> what each replies to
    threads = list[Thread]()
    stack: list[tuple[Message, Message | None]] = [(root, None) for root in below[None]]
    while stack:
        message, parent = stack.pop()
        above[message.id] = parent
        if message.role not in ROLES:
            raise MalformedTreeError("unknown role", message)
        if message.role != ("prompter" if parent is None or parent.role == "assistant" else "assistant"):
            raise MalformedTreeError("roles do not alternate", message)
        if not message.text.strip():
            raise MalformedTreeError("empty text", message)
        answers = below.get(message.id, [])
        is_last = not answers or any(not below.get(reply.id) for reply in answers)
        if message.role == "assistant" and is_last:
            threads.append(_thread(message, above))
        stack.extend((reply, message) for reply in reversed(answers))
    return threads


def _thread(end: Message, above: Mapping[str, Message | None]) -> Thread:
    """Returns the path from the root to a message."""
    path = list[Message]()
    message: Message | None = end
    while message is not None:
        path.append(message)
        message = above[message.id]
    return Thread(end.tree, tuple(reversed(path)))


def _flatten(row: Row, place: str) -> Iterator[Message]:
    """Yield the message of a row and all that are nested in it; with a stack, as a tree may be deep."""
    if isinstance(row, InvalidRowError):
        raise row
    top = row.get("prompt", row)
    nested = "prompt" not in row and "replies" in row
    # a tree has the id of its first message
    key = "message_id" if nested and row.get("message_tree_id") is None else "message_tree_id"
    tree, state = _id(row, key), row.get("tree_state")
    stack: list[tuple[object, str | None]] = [(top, None)]
    while stack:
        node, above = stack.pop()
        if not isinstance(node, Mapping):
            raise _invalid(f"a message is {str(node)[:40]!r}, not an object with {', '.join(COLUMNS)}")
        id, parent, text = _id(node, "message_id"), above, node.get("text")
        if "parent_id" in node:
            parent = None if node["parent_id"] in (None, "") else _id(node, "parent_id")
        if text is None and "text" in node:
            text = ""  # null is a fault of its tree and not of the file
        yield Message(
            id=id,
            parent=parent,
            tree=tree,
            text=as_text("text", text),
            role=as_text("role", node.get("role")),
            lang=as_text("lang", node.get("lang")),
            withdrawn=node.get("deleted") is True or node.get("review_result") is False,
            state=state if isinstance(state, str) else None,
            place=place,
        )
        replies = node.get("replies") or []
        if not isinstance(replies, list):
            raise _invalid(f"replies of message {id} is no list of messages")
        stack.extend((reply, id) for reply in reversed(replies))


def _id(node: Mapping[str, object], key: str) -> str:
    value = node.get(key)
    if isinstance(value, str) and value:
        return value
    what = "missing" if value is None or value == "" else f"{value!r}, not a text"
    raise _invalid(
        f"{key} is {what}: a line is a message ({', '.join(COLUMNS)}) or a tree (message_tree_id, prompt)"
    )


def _invalid(message: str) -> InvalidRowError:
    return InvalidRowError(message, "not a message")


def _replies(tree: Sequence[Message]) -> defaultdict[str | None, list[Message]]:
    """Returns the replies to each message, in the order of their ids; those to None are the root alone."""
    ids: set[str] = set()
    for message in tree:
        if message.id in ids:
            raise MalformedTreeError("message id twice", message)
        ids.add(message.id)
    replies: defaultdict[str | None, list[Message]] = defaultdict(list)
    for message in sorted(tree, key=lambda message: message.id):
        if message.parent is not None and message.parent not in ids:
            raise MalformedTreeError("missing parent", message)
        replies[message.parent].append(message)
    if len(replies[None]) > 1:
        raise MalformedTreeError("two roots", replies[None][1])
    reached = list(replies[None])
    for message in reached:
        reached.extend(replies[message.id])
    if len(reached) < len(tree):  # without a root there is one too: every message has its parent here
        ids -= {message.id for message in reached}
        raise MalformedTreeError("cycle", next(message for message in tree if message.id in ids))
    return replies
