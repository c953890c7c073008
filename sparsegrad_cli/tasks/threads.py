"""Conversations as OpenAssistant releases them: messages, put together to trees, read as threads.

A line is a tree (`message_tree_id`, `prompt` with nested `replies`), a message with nested `replies`, or one
message (`message_id`, `parent_id`, `message_tree_id`); a row of a parquet file is one message. What is nested
is laid flat, so that one check serves all forms. A thread is the path from a tree's root to a leaf.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .load import LeftOut
from .rows import InvalidRowError, Row, Rows, as_text, read_rows

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
FORM = f"OpenAssistant's trees or messages ({', '.join(ENDINGS)})"
COLUMNS = ("message_id", "parent_id", "message_tree_id", "text", "role", "lang")
OPTIONAL = ("tree_state", "deleted", "review_result")

ROLES = {"prompter": "user", "assistant": "assistant"}  # theirs -> ours
READY = "ready_for_export"  # the state of a tree that its moderators are done with
ALL = "all"  # every language

# why a well-formed tree is not wanted
OTHER_LANGUAGE, NOT_READY, NO_ANSWER = "other language", "not ready for export", "no answer"
Malformed = Literal[
    "message id twice",
    "missing parent",
    "two roots",
    "cycle",
    "unknown role",
    "roles do not alternate",
    "empty text",
]


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

    def __init__(self, reason: Malformed, message: Message) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


def is_message_file(path: Path) -> bool:
    """Whether a file may hold messages, by its ending."""
    return path.name.lower().endswith(ENDINGS)


def read_messages(path: Path) -> Iterator[Message]:
    """Read the messages of one file in any form; they come as they are asked for.

    Args:
        path: a file with one of the `ENDINGS`.

    Raises:
        InputError: the file cannot be read, or a line is no message and no tree; says the line.
    """
    needed = COLUMNS if path.suffix.lower() == ".parquet" else ()
    yield from messages_of(read_rows(path, needed, {}, optional=OPTIONAL))


def messages_of(rows: Rows) -> Iterator[Message]:
    """Yield the messages in rows of any form.

    Raises:
        InputError: a row is no message and no tree; says its place.
    """
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
    above: dict[str, Message | None] = {}  # the messages that stay -> what each replies to
    ends: list[Message] = []
    stack: list[tuple[Message, Message | None]] = [(replies[None][0], None)]
    while stack:
        message, parent = stack.pop()
        if message.withdrawn:
            continue
        _check_turn(message, parent)
        above[message.id] = parent
        below = _staying(replies[message.id])
        is_last = not below or any(not _staying(replies[reply.id]) for reply in below)
        if message.role == "assistant" and is_last:
            ends.append(message)
        stack.extend((reply, message) for reply in reversed(below))
    return [Thread(end.tree, _path(end, above)) for end in ends]


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
        id = _id(node, "message_id")
        yield Message(
            id=id,
            parent=_parent(node, above),
            tree=tree,
            text=_text(node),
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


def _parent(node: Mapping[str, object], above: str | None) -> str | None:
    """Returns what a message says of its parent; where it says nothing, the one that it is nested in."""
    if "parent_id" not in node:
        return above
    return None if node["parent_id"] in (None, "") else _id(node, "parent_id")


def _text(node: Mapping[str, object]) -> str:
    """A text that is null counts as empty: a fault of its tree and not of the file."""
    return "" if "text" in node and node["text"] is None else as_text("text", node.get("text"))


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


def _check_turn(message: Message, parent: Message | None) -> None:
    if message.role not in ROLES:
        raise MalformedTreeError("unknown role", message)
    if message.role != ("prompter" if parent is None or parent.role == "assistant" else "assistant"):
        raise MalformedTreeError("roles do not alternate", message)
    if not message.text.strip():
        raise MalformedTreeError("empty text", message)


def _staying(replies: Sequence[Message]) -> list[Message]:
    return [reply for reply in replies if not reply.withdrawn]


def _path(end: Message, above: dict[str, Message | None]) -> tuple[Message, ...]:
    path, message = [end], above[end.id]
    while message is not None:
        path.append(message)
        message = above[message.id]
    return tuple(reversed(path))
