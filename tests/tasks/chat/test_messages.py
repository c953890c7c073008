"""Messages are read from any released form; what is none is told with its line."""

from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks.threads import Message, read_messages

from .oasst import chain, flat, in_tree, node, write

TREES = [node("r", node("b", node("q", depth=2), depth=1), node("a", depth=1)), chain("s", "t", lang="pt-BR")]
FLAT = [row for tree in TREES for row in flat(tree)]
FORMS = {
    "trees.jsonl": [in_tree(tree) for tree in TREES],
    "trees.jsonl.gz": [in_tree(tree) for tree in TREES],
    "nested.jsonl": TREES,
    "messages.jsonl": FLAT,
    "messages.parquet": FLAT,
}


def told(message: Message) -> tuple[str | bool | None, ...]:
    return (
        message.id,
        message.parent,
        message.tree,
        message.text,
        message.role,
        message.lang,
        message.withdrawn,
    )


@pytest.mark.parametrize("name", FORMS)
def test_every_form_tells_the_same(tmp_path: Path, name: str) -> None:
    found = list(read_messages(write(tmp_path / name, FORMS[name])))
    assert [told(message) for message in found] == [
        (
            row["message_id"],
            row["parent_id"],
            row["message_tree_id"],
            row["text"],
            row["role"],
            row["lang"],
            False,
        )
        for row in FLAT
    ]


def test_a_parquet_file_tells_what_was_withdrawn_and_the_state(tmp_path: Path) -> None:
    rows = flat(chain("r", "a", deleted=True)) + flat(
        chain("s", "b", review_result=False), tree_state="growing"
    )
    found = list(read_messages(write(tmp_path / "a.parquet", rows)))
    assert [(m.withdrawn, m.state) for m in found] == [
        (True, "ready_for_export"),
        (False, "ready_for_export"),
        (True, "growing"),
        (False, "growing"),
    ]
    bare = [
        {key: row[key] for key in row if key not in ("deleted", "review_result", "tree_state")}
        for row in rows
    ]
    found = list(read_messages(write(tmp_path / "b.parquet", bare)))
    assert {(m.withdrawn, m.state) for m in found} == {(False, None)}


def test_the_release_leaves_out_what_is_null(tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if value is not None} for row in FLAT]
    assert "parent_id" not in rows[0]
    found = list(read_messages(write(tmp_path / "a.jsonl", rows)))
    assert [message.parent for message in found] == [row["parent_id"] for row in FLAT]


GOOD = flat(chain("r", "a"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text": "hello", "label": 1}, "message_tree_id is missing: a line is a message (message_id, "),
        (GOOD[1] | {"message_id": None}, "message_id is missing: a line is a message (message_id, "),
        (GOOD[1] | {"message_tree_id": None}, "message_tree_id is missing: a line is a message"),
        (GOOD[1] | {"message_id": 7}, "message_id is 7, not a text"),
        (GOOD[1] | {"parent_id": 7}, "parent_id is 7, not a text"),
        (GOOD[1] | {"text": 7}, "text is 7, not a text"),
        ({key: GOOD[1][key] for key in GOOD[1] if key != "text"}, "text is missing, not a text"),
        ({key: GOOD[1][key] for key in GOOD[1] if key != "role"}, "role is missing, not a text"),
        ({key: GOOD[1][key] for key in GOOD[1] if key != "lang"}, "lang is missing, not a text"),
        ({"message_tree_id": "r", "prompt": "hello"}, "a message is 'hello', not an object with message_id"),
        ({"prompt": chain("r", "a")}, "message_tree_id is missing"),
        (in_tree(node("r", "hello")), "a message is 'hello', not an object"),
        (in_tree(node("r") | {"replies": 3}), "replies of message r is no list of messages"),
        (["hello"], "not a JSON object: each line is one"),
        (GOOD[1] | {"text": "\ud800"}, "text holds half a surrogate pair, which is no character"),
    ],
)
def test_a_line_that_is_no_message_is_told(tmp_path: Path, wrong: object, message: str) -> None:
    path = write(tmp_path / "chats.jsonl", [GOOD[0], wrong])
    with pytest.raises(InputError) as error:
        list(read_messages(path))
    assert str(error.value).startswith(f"{path}:2: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"message_id": ', "broken JSON"), ('{"replies": [' * 5000, "JSON nested too deep to read")],
)
def test_a_line_that_is_no_json_is_told(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=message) as error:
        list(read_messages(path))
    assert str(error.value).startswith(f"{path}:1: ")


def test_a_parquet_file_of_something_else_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"sentence": "hello", "label": 1}])
    with pytest.raises(InputError, match=r"no column 'message_id', there are sentence, label"):
        list(read_messages(path))


def test_a_file_that_is_cut_short_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", GOOD * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        list(read_messages(path))
