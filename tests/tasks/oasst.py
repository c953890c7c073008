"""Conversations in the forms that OpenAssistant releases them in."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sparsegrad_cli.tasks.oasst import Message, messages_of
from sparsegrad_cli.tasks.rows import Rows

ROLES = ("prompter", "assistant")
KEYS = ("message_id", "parent_id", "text", "role", "lang", "deleted", "review_result")


def node(id: str, *replies: dict, depth: int = 0, **more: object) -> dict:
    """A message with its replies; roles follow from the depth, the text from the id."""
    message = {"message_id": id, "text": f"text of {id}", "role": ROLES[depth % 2], "lang": "en"}
    return message | {"deleted": False, "review_result": True, "replies": list(replies)} | more


def chain(*ids: str, **more: object) -> dict:
    """A conversation without branches; `more` goes to its first message."""
    made: dict | None = None
    for depth in reversed(range(len(ids))):
        below = [made] if made else []
        made = node(ids[depth], *below, depth=depth, **(more if depth == 0 else {}))
    return made


def flat(tree: dict, **more: object) -> list[dict]:
    """The messages of a tree, a row each, as the files of messages and the hub have them."""

    def rows(message: dict, parent: str | None) -> Iterator[dict]:
        told = {"parent_id": parent} | {key: message[key] for key in KEYS if key in message}
        yield told | {"message_tree_id": tree["message_id"], "tree_state": "ready_for_export"} | more
        for reply in message["replies"]:
            yield from rows(reply, message["message_id"])

    return list(rows(tree, None))


def in_tree(tree: dict, **more: object) -> dict:
    """The line of a tree in a file of trees."""
    return {"message_tree_id": tree["message_id"], "tree_state": "ready_for_export", "prompt": tree} | more


def messages(rows: list[dict], source: str = "rows") -> list[Message]:
    return list(messages_of(Rows(source, enumerate(rows, 1))))


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path
