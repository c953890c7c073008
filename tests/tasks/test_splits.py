"""Dev in two halves, or a part of train in its place: rows that belong together are on one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import TaskData, load_data
from sparsegrad_cli.tasks.oasst import load_chat
from sparsegrad_cli.tasks.splits import (
    HOLDOUT,
    SELECTING,
    check_split_dev,
    draw_rows,
    group_rows,
    hold_out,
    split_dev,
)

from .glue_files import write_jsonl
from .oasst import chain, in_tree, write


def named(data: TaskData, split: str, column: str = "idx") -> set[int | str]:
    return set(data.splits[split][column])


def texts(data: TaskData, split: str) -> set[str]:
    return set().union(*(named(data, split, column) for column in data.task.text))


@pytest.mark.parametrize("name", ["rte", "mnli", "qqp"])
def test_rows_are_dealt_at_random_and_each_once(name):
    data = load_data(get_task(name), "demo")
    halves = split_dev(data)
    first = data.task.dev[0]
    selecting, reported = named(halves, SELECTING), named(halves, first)
    assert selecting | reported == named(data, first)
    assert not selecting & reported
    assert len(selecting) == len(reported) == 150
    assert selecting != set(range(len(selecting)))
    assert halves.splits[SELECTING]["idx"][:] == sorted(selecting)
    for other in data.task.dev[1:]:
        assert len(halves.splits[other]) == 150
    assert named(halves, "train") == named(data, "train")
    assert halves.sha256 != data.sha256
    assert split_dev(data).splits[SELECTING].to_list() == halves.splits[SELECTING].to_list()


@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"])
def test_rows_that_share_a_text_are_in_one_half(name):
    """MNLI's hypotheses of a premise, QNLI's questions of a sentence, QQP's pairs of a question."""
    data = load_data(get_task(name), "demo")
    halves = split_dev(data)
    assert not texts(halves, SELECTING) & texts(halves, data.task.dev[0])
    held = hold_out(data)
    assert not texts(held, "train") & texts(held, HOLDOUT)
    assert len(held.splits[HOLDOUT]) == min(
        len(data.splits["train"]) // 10, len(data.splits[data.task.dev[0]])
    )


def test_a_real_dev_split_has_even_halves_that_share_no_text(shared):
    halves = split_dev(load_data(get_task("qnli"), str(shared / "glue")))
    first = halves.task.dev[0]
    assert not texts(halves, SELECTING) & texts(halves, first)
    assert 0 <= len(halves.splits[first]) - len(halves.splits[SELECTING]) <= 1


def pairs_of(tmp_path, rows: list[tuple[str, str]]) -> TaskData:
    write_jsonl(tmp_path / "rows.jsonl", [{"a": a, "b": b, "label": 0} for a, b in rows])
    files = "files: {train: rows.jsonl, validation: rows.jsonl}"
    (tmp_path / "own.yaml").write_text(f"text: [a, b]\nlabels: [n, p]\nmetrics: accuracy\n{files}\n")
    return load_data(get_task(str(tmp_path / "own.yaml")), "hub")


def test_groups_join_through_other_rows_in_either_column(tmp_path):
    data = pairs_of(tmp_path, [("x", "y"), ("p", "q"), ("y", "z"), ("r", ""), ("w", "z"), ("s", "")])
    assert group_rows(data, "train").tolist() == [0, 1, 0, 2, 0, 3]


def test_a_text_of_every_row_ties_none(tmp_path):
    rows = [(f"text {i // 2}", "Is this a complaint?") for i in range(40)]
    data = pairs_of(tmp_path, rows)
    assert group_rows(data, "train").tolist() == [i // 2 for i in range(40)]
    assert len(split_dev(data).splits[SELECTING]) == 20


def test_rows_that_all_share_a_text_cannot_be_divided(tmp_path):
    data = pairs_of(tmp_path, [("x", "1"), ("x", "2"), ("x", "3")])
    with pytest.raises(InputError, match=r"--protocol heldout: validation of .* which has no halves"):
        split_dev(data)
    with pytest.raises(InputError, match=r"--select-on holdout: .* none can be held out"):
        hold_out(data)


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(1, 40))
def test_whole_groups_are_drawn_never_none_and_never_all(labels, size):
    groups = np.unique(labels, return_inverse=True)[1]
    if groups.max() == 0:
        return
    drawn = draw_rows(groups, min(size, len(groups) // 2))
    inside = np.isin(np.arange(len(groups)), drawn)
    assert 0 < inside.sum() < len(groups)
    assert not set(groups[inside]) & set(groups[~inside])
    smallest = np.bincount(groups).min()
    assert inside.sum() <= max(smallest, min(size, len(groups) // 2))


def test_a_conversation_is_in_one_half_with_all_its_threads():
    data = load_chat(get_task("oasst1"), "demo")
    halves = split_dev(data)
    selecting, reported = (named(halves, split, "tree") for split in (SELECTING, "validation"))
    assert selecting | reported == named(data, "validation", "tree")
    assert not selecting & reported
    sizes = [len(halves.splits[split]) for split in (SELECTING, "validation")]
    assert sum(sizes) == len(data.splits["validation"]) > len(selecting) + len(reported)
    assert sizes == [19, 20]


@pytest.mark.parametrize(("trees", "is_refused"), [(12, True), (20, False)])
def test_a_single_conversation_has_no_halves(trees, is_refused, tmp_path):
    made = [in_tree(chain(f"question {place}", f"answer {place}")) for place in range(trees)]
    data = load_chat(get_task("oasst1"), str(write(tmp_path / "trees.jsonl", made)))
    assert len(named(data, "validation", "tree")) == trees // 10
    if is_refused:
        with pytest.raises(InputError, match=r"--protocol heldout: validation of .* one conversation tree"):
            check_split_dev(data)
    else:
        check_split_dev(data)
