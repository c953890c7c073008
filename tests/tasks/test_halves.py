"""Dev in two halves: one selects, the other is reported, and nothing is in both."""

from __future__ import annotations

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import TaskData, load_data
from sparsegrad_cli.tasks.oasst import load_chat
from sparsegrad_cli.tasks.splits import SELECTING, check_halves, halve

from .chat.oasst import chain, in_tree, write


def named(data: TaskData, split: str, column: str = "idx") -> set[int | str]:
    return set(data.splits[split][column])


@pytest.mark.parametrize("name", ["rte", "mnli"])
def test_rows_are_dealt_at_random_and_each_once(name):
    data = load_data(get_task(name), "demo")
    halves = halve(data)
    first = data.task.dev[0]
    selecting, reported = named(halves, SELECTING), named(halves, first)
    assert selecting | reported == named(data, first)
    assert not selecting & reported
    assert 0 <= len(reported) - len(selecting) <= 1
    assert selecting != set(range(len(selecting)))
    assert halves.splits[SELECTING]["idx"][:] == sorted(selecting)
    for other in data.task.dev[1:]:
        assert len(halves.splits[other]) == -(-len(data.splits[other]) // 2)
    assert named(halves, "train") == named(data, "train")
    assert halves.sha256 != data.sha256
    assert halve(data).splits[SELECTING].to_list() == halves.splits[SELECTING].to_list()


def test_a_conversation_is_in_one_half_with_all_its_threads():
    data = load_chat(get_task("oasst1"), "demo")
    halves = halve(data)
    selecting, reported = (named(halves, split, "tree") for split in (SELECTING, "validation"))
    assert selecting | reported == named(data, "validation", "tree")
    assert not selecting & reported
    assert len(selecting) == len(reported)
    threads = len(halves.splits[SELECTING]) + len(halves.splits["validation"])
    assert threads == len(data.splits["validation"]) > len(selecting) + len(reported)


@pytest.mark.parametrize(("trees", "is_refused"), [(12, True), (20, False)])
def test_a_single_conversation_has_no_halves(trees, is_refused, tmp_path):
    made = [in_tree(chain(f"question {place}", f"answer {place}")) for place in range(trees)]
    data = load_chat(get_task("oasst1"), str(write(tmp_path / "trees.jsonl", made)))
    assert len(named(data, "validation", "tree")) == trees // 10
    if is_refused:
        with pytest.raises(InputError, match=r"--protocol heldout: validation of .* one conversation tree"):
            check_halves(data)
    else:
        check_halves(data)
