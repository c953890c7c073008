"""Messages of OpenAssistant, from any of the forms they are released in.

A line is a tree (`message_tree_id`, `prompt` with nested `replies`), a message with nested `replies`, or one
message (`message_id`, `parent_id`, `message_tree_id`); a row of a parquet file is one message. What is nested
is laid flat, so that one check serves all forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ..data import as_text
from ..rows import Row, Rows, read_rows

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
FORM = f"OpenAssistant's trees or messages ({', '.join(ENDINGS)})"
COLUMNS = ("message_id", "parent_id", "message_tree_id", "text", "role", "lang")
OPTIONAL = ("tree_state", "deleted", "review_result")


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
    state: str | None  # the state of the tree; None: not told
    place: str  # file and line, for messages to the user


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
    """The messages in rows of any form.

    Raises:
        InputError: a row is no message and no tree; says its place.
    """
    for number, row in rows.numbered:
        place = rows.place(number)
        try:
            yield from _flat(row, place)
        except ValueError as error:
            raise InputError(f"{place}: {error}") from None


def _flat(row: Row, place: str) -> Iterator[Message]:
    """The message of a row and all that are nested in it; with a stack, as a tree may be deep."""
    top = row.get("prompt", row)
    nested = "prompt" not in row and "replies" in row
    # a tree has the id of its first message
    key = "message_id" if nested and row.get("message_tree_id") is None else "message_tree_id"
    tree, state = _id(row, key), row.get("tree_state")
    stack: list[tuple[object, str | None]] = [(top, None)]
    while stack:
        node, above = stack.pop()
        if not isinstance(node, Mapping):
            raise ValueError(f"a message is {str(node)[:40]!r}, not an object with {', '.join(COLUMNS)}")
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
            raise ValueError(f"replies of message {id} is no list of messages")
        stack.extend((reply, id) for reply in reversed(replies))


def _parent(node: Mapping[str, object], above: str | None) -> str | None:
    """What a message says of its parent; where it says nothing, the one that it is nested in."""
    if "parent_id" not in node:
        return above
    return None if node["parent_id"] in (None, "") else _id(node, "parent_id")


def _text(node: Mapping[str, object]) -> str:
    """A text that is null is empty, which tells of its tree and not of the file."""
    return "" if "text" in node and node["text"] is None else as_text("text", node.get("text"))


def _id(node: Mapping[str, object], key: str) -> str:
    value = node.get(key)
    if not isinstance(value, str) or not value:
        what = "missing" if value is None or value == "" else f"{value!r}, not a text"
        raise ValueError(
            f"{key} is {what}: a line is a message ({', '.join(COLUMNS)}) or a tree (message_tree_id, prompt)"
        )
    return value
