"""Conversation trees: messages put together, checked, and walked from the root to every leaf."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .left_out import NO_ANSWER, NOT_READY, OTHER_LANGUAGE, LeftOut, Reason
from .messages import Message

ROLES = {"prompter": "user", "assistant": "assistant"}  # theirs -> ours
READY = "ready_for_export"  # the state of a tree that its moderators are done with
ALL = "all"  # every language


@dataclass(frozen=True)
class Thread:
    """One path of a tree: begins with the user, alternates, ends with the assistant."""

    tree: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Forest:
    """What the trees of one source gave; a tree gives threads, or it is in `left_out` or `skipped`."""

    threads: list[Thread]  # by tree, then by path; the order of the source does not matter
    left_out: tuple[LeftOut, ...]  # malformed
    skipped: Counter[str]  # why a tree was not wanted -> such trees
    languages: Counter[str]  # of all trees, wanted or not


class MalformedTreeError(Exception):
    """A tree cannot be used, because of this message."""

    def __init__(self, reason: Reason, message: Message) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


def grow(messages: Iterable[Message], languages: Collection[str]) -> Forest:
    """Put messages, in any order, together to trees and walk each.

    Args:
        languages: the codes of the wanted ones, or among them "all"; a tree is of its first prompt's.
    """
    trees: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        trees[message.tree].append(message)
    threads, left_out = [], []
    skipped, spoken = Counter(), Counter()
    for tree in sorted(trees):
        roots = [message for message in trees[tree] if message.parent is None]
        first = min(roots or trees[tree], key=lambda message: message.id)
        spoken[first.lang] += 1
        if ALL not in languages and first.lang not in languages:
            skipped[OTHER_LANGUAGE] += 1
        elif first.state not in (None, READY):
            skipped[NOT_READY] += 1
        else:
            try:
                found = walk(trees[tree])
            except MalformedTreeError as error:
                place = f"{error.message.place}, message {error.message.id}"
                left_out.append(LeftOut(tree, error.reason, place))
                continue
            threads.extend(found)
            if not found:
                skipped[NO_ANSWER] += 1
    return Forest(threads, tuple(left_out), skipped, spoken)


def walk(tree: Sequence[Message]) -> list[Thread]:
    """The threads of one tree, each once.

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


def _replies(tree: Sequence[Message]) -> defaultdict[str | None, list[Message]]:
    """The replies to each message, in the order of their ids; those to None are the root alone."""
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
