"""Messages are read from any released form and put together to threads; what is wrong is named."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks.oasst import Message, build_threads, read_messages

from .oasst import ROLES, chain, flat, in_tree, messages, node, write

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
        (GOOD[1] | {"text": "\ud800"}, "text holds half a surrogate pair, which is not a character"),
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


ANSWERED = flat(chain("good", "good-1"))


def paths(rows: list[dict], *languages: str) -> list[list[str]]:
    thread_set = build_threads(messages(rows), languages or ("en",))
    return [[message.id for message in thread.messages] for thread in thread_set.threads]


def changed(rows: list[dict], id: str, **how: object) -> list[dict]:
    return [row | how if row["message_id"] == id else row for row in rows]


def test_every_path_from_the_root_to_a_leaf_is_a_thread() -> None:
    tree = node("r", node("a", node("p", node("b", depth=3), depth=2), depth=1), node("c", depth=1))
    assert paths(flat(tree)) == [["r", "a", "p", "b"], ["r", "c"]]


def test_a_question_that_nobody_answered_is_dropped_and_what_then_is_equal_counts_once() -> None:
    leaves = [node("p1", depth=2), node("p2", depth=2), node("p3", node("b", depth=3), depth=2)]
    assert paths(flat(node("r", node("a", *leaves, depth=1)))) == [["r", "a"], ["r", "a", "p3", "b"]]


def test_a_tree_without_an_answer_is_counted() -> None:
    thread_set = build_threads(messages(flat(chain("alone"))), ("en",))
    assert (thread_set.threads, thread_set.left_out, thread_set.skipped) == ([], (), {"no answer": 1})


@pytest.mark.parametrize("withdrawn", [{"deleted": True}, {"review_result": False}])
def test_what_was_withdrawn_goes_with_all_below_it(withdrawn: dict[str, bool]) -> None:
    rows = flat(node("r", node("a", node("p", node("b", depth=3), depth=2), depth=1), node("c", depth=1)))
    assert paths(changed(rows, "p", text="", **withdrawn)) == [["r", "a"], ["r", "c"]]
    assert paths(changed(rows, "a", **withdrawn)) == [["r", "c"]]
    assert build_threads(messages(changed(rows, "r", **withdrawn)), ("en",)).skipped == {"no answer": 1}


def test_a_message_that_nobody_reviewed_stays() -> None:
    assert paths(changed(ANSWERED, "good-1", review_result=None)) == [["good", "good-1"]]


TREE = flat(chain("r", "a", "p", "b"))
MALFORMED = {
    "missing parent": (changed(TREE, "p", parent_id="gone"), "p"),
    "two roots": (changed(TREE, "p", parent_id=None), "r"),
    "cycle": (changed(TREE, "a", parent_id="b"), "a"),
    "message id twice": ([*TREE, TREE[3]], "b"),
    "unknown role": (changed(TREE, "p", role="system"), "p"),
    "roles do not alternate": (changed(TREE, "p", role="assistant"), "p"),
    "empty text": (changed(TREE, "p", text=" \n"), "p"),
}


@pytest.mark.parametrize("reason", MALFORMED)
def test_a_malformed_tree_is_left_out_whole_and_named(reason: str) -> None:
    rows, shown_by = MALFORMED[reason]
    thread_set = build_threads(messages([*rows, *ANSWERED], "chats.jsonl"), ("en",))
    assert [[message.id for message in thread.messages] for thread in thread_set.threads] == [
        ["good", "good-1"]
    ]
    (left_out,) = thread_set.left_out
    assert (left_out.name, left_out.reason) == ("tree r", reason)
    line = max(number for number, row in enumerate(rows, 1) if row["message_id"] == shown_by)
    assert left_out.place == f"chats.jsonl:{line}, message {shown_by}"
    assert not thread_set.skipped


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (TREE[1:], "missing parent"),  # the line of the root is lost
        (changed(TREE, "r", parent_id="b"), "cycle"),  # no root
        (changed(TREE, "p", parent_id="p"), "cycle"),
        (changed(TREE, "p", text=None), "empty text"),
        (changed(TREE, "r", role="assistant"), "roles do not alternate"),
    ],
)
def test_more_that_is_malformed(rows: list[dict], reason: str) -> None:
    assert [tree.reason for tree in build_threads(messages(rows), ("en",)).left_out] == [reason]


def test_nested_trees_are_checked_like_flat_ones() -> None:
    twice = node("r", node("a", depth=1), node("a", depth=1))
    elsewhere = node("s", node("t", depth=1, parent_id="gone"))
    thread_set = build_threads(
        messages([in_tree(twice), in_tree(elsewhere), in_tree(chain("good", "1"))]), ("en",)
    )
    assert [(tree.name, tree.reason) for tree in thread_set.left_out] == [
        ("tree r", "message id twice"),
        ("tree s", "missing parent"),
    ]
    assert [thread.tree for thread in thread_set.threads] == ["good"]


def test_trees_of_other_languages_and_states_are_counted_and_not_checked() -> None:
    rows = [*ANSWERED, *flat(chain("de", "de-1", lang="de"))]
    rows += changed(flat(chain("ru", "ru-1", lang="ru")), "ru-1", parent_id="gone")
    rows += flat(chain("new", "new-1"), tree_state="growing")
    rows += flat(chain("untold", "untold-1"), tree_state=None)
    thread_set = build_threads(messages(rows), ("en",))
    assert [thread.tree for thread in thread_set.threads] == ["good", "untold"]
    assert thread_set.skipped == {"other language": 2, "not ready for export": 1}
    assert thread_set.left_out == ()
    assert thread_set.languages == {"en": 3, "de": 1, "ru": 1}
    assert paths(rows, "de", "en") == [["de", "de-1"], ["good", "good-1"], ["untold", "untold-1"]]
    assert [tree.name for tree in build_threads(messages(rows), ("all",)).left_out] == ["tree ru"]


def test_a_deep_tree_is_walked() -> None:
    ids = [f"{depth:05}" for depth in range(5000)]
    assert paths(flat_chain(ids)) == [ids]


def flat_chain(ids: list[str]) -> list[dict]:
    rows = [{"message_id": id, "text": "x", "role": ROLES[i % 2], "lang": "en"} for i, id in enumerate(ids)]
    parents = [None, *ids]
    return [
        row | {"parent_id": parent, "message_tree_id": ids[0]}
        for row, parent in zip(rows, parents, strict=False)
    ]


@st.composite
def grown(draw: st.DrawFn) -> dict:
    """Any tree of up to 25 messages, some of them withdrawn."""
    size = draw(st.integers(1, 25))
    nodes = [node("m00")]
    depths = [0]
    for number in range(1, size):
        parent = draw(st.integers(0, number - 1))
        depths.append(depths[parent] + 1)
        deleted = draw(st.integers(0, 9)) == 0
        nodes.append(node(f"m{number:02}", depth=depths[-1], deleted=deleted))
        nodes[parent]["replies"].append(nodes[-1])
    return nodes[0]


@given(tree=grown(), seed=st.integers(0, 5))
def test_threads_are_paths_that_alternate_and_end_with_the_assistant(tree: dict, seed: int) -> None:
    rows = flat(tree)
    parents = {row["message_id"]: row["parent_id"] for row in rows}
    deleted = {row["message_id"] for row in rows if row["deleted"]}
    threads = build_threads(messages(rows), ("en",)).threads
    found = [tuple(message.id for message in thread.messages) for thread in threads]
    assert len(set(found)) == len(found)
    for thread in threads:
        assert [m.role for m in thread.messages] == list(ROLES) * (len(thread.messages) // 2)
        assert [m.parent for m in thread.messages] == [None, *(m.id for m in thread.messages[:-1])]
        assert not deleted & {m.id for m in thread.messages}

    def stays(id: str) -> bool:
        return id not in deleted and (parents[id] is None or stays(parents[id]))

    answers = {row["message_id"] for row in rows if row["role"] == "assistant" and stays(row["message_id"])}
    assert {id for path in found for id in path} >= answers  # no answer is lost
    random.Random(seed).shuffle(rows)
    assert [t.messages for t in build_threads(messages(rows), ("en",)).threads] == [
        tuple(m for m in path) for path in _placed(rows, found)
    ]
    nested = build_threads(messages([in_tree(tree)]), ("en",)).threads
    assert [[m.id for m in thread.messages] for thread in nested] == [list(path) for path in found]


def _placed(rows: list[dict], found: list[tuple[str, ...]]) -> list[list]:
    """The same messages at the places of the shuffled rows."""
    by_id = {message.id: message for message in messages(rows)}
    return [[by_id[id] for id in path] for path in found]
