"""Trees are walked to threads; one that is malformed is named and left out whole."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.tasks.threads import grow

from .oasst import ROLES, chain, flat, in_tree, messages, node

GOOD = flat(chain("good", "good-1"))


def paths(rows: list[dict], *languages: str) -> list[list[str]]:
    forest = grow(messages(rows), languages or ("en",))
    return [[message.id for message in thread.messages] for thread in forest.threads]


def changed(rows: list[dict], id: str, **how: object) -> list[dict]:
    return [row | how if row["message_id"] == id else row for row in rows]


def test_every_path_from_the_root_to_a_leaf_is_a_thread() -> None:
    tree = node("r", node("a", node("p", node("b", depth=3), depth=2), depth=1), node("c", depth=1))
    assert paths(flat(tree)) == [["r", "a", "p", "b"], ["r", "c"]]


def test_a_question_that_nobody_answered_is_dropped_and_what_then_is_equal_counts_once() -> None:
    leaves = [node("p1", depth=2), node("p2", depth=2), node("p3", node("b", depth=3), depth=2)]
    assert paths(flat(node("r", node("a", *leaves, depth=1)))) == [["r", "a"], ["r", "a", "p3", "b"]]


def test_a_tree_without_an_answer_is_counted() -> None:
    forest = grow(messages(flat(chain("alone"))), ("en",))
    assert (forest.threads, forest.left_out, forest.skipped) == ([], (), {"no answer": 1})


@pytest.mark.parametrize("withdrawn", [{"deleted": True}, {"review_result": False}])
def test_what_was_withdrawn_goes_with_all_below_it(withdrawn: dict[str, bool]) -> None:
    rows = flat(node("r", node("a", node("p", node("b", depth=3), depth=2), depth=1), node("c", depth=1)))
    assert paths(changed(rows, "p", text="", **withdrawn)) == [["r", "a"], ["r", "c"]]
    assert paths(changed(rows, "a", **withdrawn)) == [["r", "c"]]
    assert grow(messages(changed(rows, "r", **withdrawn)), ("en",)).skipped == {"no answer": 1}


def test_a_message_that_nobody_reviewed_stays() -> None:
    assert paths(changed(GOOD, "good-1", review_result=None)) == [["good", "good-1"]]


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
    forest = grow(messages([*rows, *GOOD], "chats.jsonl"), ("en",))
    assert [[message.id for message in thread.messages] for thread in forest.threads] == [["good", "good-1"]]
    (left_out,) = forest.left_out
    assert (left_out.tree, left_out.reason) == ("r", reason)
    line = max(number for number, row in enumerate(rows, 1) if row["message_id"] == shown_by)
    assert left_out.place == f"chats.jsonl:{line}, message {shown_by}"
    assert not forest.skipped


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
    assert [tree.reason for tree in grow(messages(rows), ("en",)).left_out] == [reason]


def test_nested_trees_are_checked_like_flat_ones() -> None:
    twice = node("r", node("a", depth=1), node("a", depth=1))
    elsewhere = node("s", node("t", depth=1, parent_id="gone"))
    forest = grow(messages([in_tree(twice), in_tree(elsewhere), in_tree(chain("good", "1"))]), ("en",))
    assert [(tree.tree, tree.reason) for tree in forest.left_out] == [
        ("r", "message id twice"),
        ("s", "missing parent"),
    ]
    assert [thread.tree for thread in forest.threads] == ["good"]


def test_trees_of_other_languages_and_states_are_counted_and_not_checked() -> None:
    rows = [*GOOD, *flat(chain("de", "de-1", lang="de"))]
    rows += changed(flat(chain("ru", "ru-1", lang="ru")), "ru-1", parent_id="gone")
    rows += flat(chain("new", "new-1"), tree_state="growing")
    rows += flat(chain("untold", "untold-1"), tree_state=None)
    forest = grow(messages(rows), ("en",))
    assert [thread.tree for thread in forest.threads] == ["good", "untold"]
    assert forest.skipped == {"other language": 2, "not ready for export": 1}
    assert forest.left_out == ()
    assert forest.languages == {"en": 3, "de": 1, "ru": 1}
    assert paths(rows, "de", "en") == [["de", "de-1"], ["good", "good-1"], ["untold", "untold-1"]]
    assert [tree.tree for tree in grow(messages(rows), ("all",)).left_out] == ["ru"]


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
    threads = grow(messages(rows), ("en",)).threads
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
    assert [t.messages for t in grow(messages(rows), ("en",)).threads] == [
        tuple(m for m in path) for path in _placed(rows, found)
    ]
    nested = grow(messages([in_tree(tree)]), ("en",)).threads
    assert [[m.id for m in thread.messages] for thread in nested] == [list(path) for path in found]


def _placed(rows: list[dict], found: list[tuple[str, ...]]) -> list[list]:
    """The same messages at the places of the shuffled rows."""
    by_id = {message.id: message for message in messages(rows)}
    return [[by_id[id] for id in path] for path in found]
