"""The test splits of the tasks from every source: texts in their order, and never a label."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.tasks import get_task, leaderboard, task_names
from sparsegrad_cli.tasks.load import TaskData, load_data, load_test

from .glue_files import (
    contents,
    rows_of,
    rows_without_labels,
    shrink_leaderboard,
    write_jsonl,
    write_jsonl_folder,
    write_test_splits,
    write_test_splits_tsv,
    write_tsv_folder,
)


def data_of(task: str, folder: Path) -> TaskData:
    return load_data(get_task(task), str(write_jsonl_folder(folder, get_task(task), rows_of(get_task(task)))))


def test_the_leaderboard_takes_eleven_files_for_nine_tasks():
    assert list(leaderboard()) == task_names()
    splits = [split for task in leaderboard().values() for split in task]
    assert len({split.file for split in splits}) == 11
    assert sum(split.rows for split in splits) == 426_309


def test_the_majority_of_wnli_is_the_class_that_its_dev_split_has_most_of(shared):
    labels = load_data(get_task("wnli"), str(shared / "glue")).splits["validation"]["label"]
    (split,) = get_task("wnli").test
    assert 2 * labels[:].count(split.majority) > len(labels)


@pytest.mark.parametrize("task", task_names())
def test_both_layouts_give_the_same_texts_in_order(task, tmp_path):
    rows = rows_without_labels(task)
    lines = load_test(data_of(task, write_test_splits(tmp_path / "lines", task)), str(tmp_path / "lines"))
    classic = write_test_splits_tsv(tmp_path / "classic", task, rows)
    known = get_task(task)
    found = load_data(known, str(write_tsv_folder(classic, known, rows_of(known))))
    expected = [{"idx": row["idx"], **{name: row[name] for name in known.text}} for row in rows]
    assert contents(lines) == {split.name: expected for split in get_task(task).test}
    assert contents(load_test(found, str(classic))) == contents(lines)
    assert load_test(found, str(classic)).sha256 == lines.sha256


@pytest.mark.parametrize("label", [-1, 1, None])
def test_what_stands_in_the_label_column_counts_for_nothing(label, tmp_path):
    data = data_of("rte", tmp_path)
    path = tmp_path / "rte" / "test.jsonl"
    write_jsonl(path, rows_without_labels("rte"))
    plain = load_test(data, str(tmp_path))
    write_jsonl(path, [{**row, "label": label} for row in rows_without_labels("rte")])
    assert load_test(data, str(tmp_path)).sha256 == plain.sha256
    write_jsonl(path, [{**row, "sentence1": "another"} for row in rows_without_labels("rte")])
    assert load_test(data, str(tmp_path)).sha256 != plain.sha256


def test_a_row_without_text_is_predicted_like_the_others(tmp_path):
    data = data_of("qqp", tmp_path)
    rows = [*rows_without_labels("qqp"), {"question1": "", "question2": "", "idx": 6}]
    write_jsonl(tmp_path / "qqp" / "test.jsonl", rows)
    assert len(load_test(data, str(tmp_path)).splits["test"]) == 7


def test_it_says_whether_the_official_rows_are_there(tmp_path, monkeypatch):
    data = data_of("mnli", write_test_splits(tmp_path, "mnli"))
    assert load_test(data, str(tmp_path)).completeness == "partial"
    shrink_leaderboard(monkeypatch)
    data = data_of("mnli", tmp_path)
    assert load_test(data, str(tmp_path)).completeness == "complete"
    (tmp_path / "ax" / "test.jsonl.gz").unlink()
    test = load_test(data, str(tmp_path))
    assert (list(test.splits), test.completeness) == (["test_matched", "test_mismatched"], "partial")


def test_no_test_split_is_told_with_what_was_looked_for(tmp_path):
    data = data_of("mnli", write_test_splits(tmp_path, "mnli"))
    (tmp_path / "mnli" / "test_mismatched.jsonl.gz").unlink()
    with pytest.raises(InputError, match=r"no test_mismatched split .* MNLI/test_mismatched\.tsv"):
        load_test(data, str(tmp_path))
    with pytest.raises(InputError, match="--data demo have no test split"):
        load_test(load_data(get_task("rte"), "demo"), "demo")


def test_a_task_of_ones_own_has_no_leaderboard(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": 1}])
    own = tmp_path / "own.yaml"
    own.write_text(
        "text: text\nlabels: [n, p]\nmetrics: accuracy\nfiles: {train: a.jsonl, validation: a.jsonl}\n"
    )
    with pytest.raises(InputError, match="own has no test split; only GLUE's have a leaderboard"):
        load_test(load_data(get_task(str(own)), "hub"), "hub")


def test_a_bad_row_is_named_by_its_place(tmp_path):
    data = data_of("rte", tmp_path)
    path = tmp_path / "rte" / "test.jsonl"
    write_jsonl(path, [*rows_without_labels("rte", 2), {"sentence1": "a", "sentence2": 7}])
    with pytest.raises(InputError, match=r"test\.jsonl:3: sentence2 is 7, not a text"):
        load_test(data, str(tmp_path))
    path.write_text("\n")
    with pytest.raises(InputError, match="empty: there is no row to predict"):
        load_test(data, str(tmp_path))


def test_labels_are_written_as_the_leaderboard_has_them():
    by_name = [task for task, splits in leaderboard().items() if all(split.class_names for split in splits)]
    assert {task: get_task(task).labels for task in by_name} == {
        "mnli": ("entailment", "neutral", "contradiction"),
        "qnli": ("entailment", "not_entailment"),
        "rte": ("entailment", "not_entailment"),
    }
