"""The numbers of the tables, and what must never stand in one table together."""

from __future__ import annotations

import numpy as np
import pytest

from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.table import Column, Row, Table

from .runs import write_run


def only_table(folder) -> Table:
    (table,) = build_report([folder]).tables
    return table


def row_of(table: Table, label: str) -> Row:
    return next(row for row in table.rows if row.label == label)


def column_of(table: Table, task: str) -> tuple[int, Column]:
    return next((i, column) for i, column in enumerate(table.columns) if column.task == task)


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    scores = [0.61, 0.58, 0.66]
    for seed, score in enumerate(scores):
        write_run(tmp_path, score=score, seed=seed)
    cell = only_table(tmp_path).rows[0].cells[0]
    spread = cell.scores["matthews_correlation"]
    assert spread.mean == pytest.approx(np.mean(scores))
    assert spread.std == pytest.approx(np.std(scores, ddof=1))
    assert (spread.n, cell.seeds) == (3, (0, 1, 2))


def test_one_seed_has_no_deviation(tmp_path):
    write_run(tmp_path)
    spread = only_table(tmp_path).rows[0].cells[0].scores["matthews_correlation"]
    assert (spread.n, spread.std) == (1, None)


def test_every_metric_of_a_task_is_there_the_main_one_first(tmp_path):
    for seed, score in enumerate([(0.88, 0.91), (0.86, 0.93)]):
        write_run(tmp_path, score=score, task="mrpc", seed=seed)
        write_run(tmp_path, score=score, task="mnli", seed=seed)
        write_run(tmp_path, score=score, task="stsb", seed=seed)
    table = only_table(tmp_path)
    assert [(column.task, column.metrics) for column in table.columns] == [
        ("mrpc", ("accuracy", "f1")),
        ("stsb", ("pearson", "spearman")),
        ("mnli", ("accuracy_m", "accuracy_mm")),
    ]
    for cell in table.rows[0].cells:
        first, second = cell.scores.values()
        assert first.mean == pytest.approx(0.87)
        assert second.mean == pytest.approx(0.92)


def test_columns_stand_in_glues_order_and_a_users_task_is_in_another_table(tmp_path):
    for task in ("wnli", "rte", "cola"):
        write_run(tmp_path, task=task)
    write_run(tmp_path, task="tickets", completeness="custom", metrics={"f1": 0.7, "accuracy": 0.8})
    glue, own = build_report([tmp_path]).tables
    assert [column.task for column in glue.columns] == ["cola", "rte", "wnli"]
    (column,) = own.columns
    assert (column.score_name, column.metrics) == ("f1", ("f1", "accuracy"))
    assert "own data" in own.title


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "heldout"},
        {"device": "cuda"},
        {"precision": "bf16"},
        {"model": "roberta-base"},
        {"checkpoint": "sha256:" + "cd" * 32},
        {"completeness": "synthetic", "origin": "demo", "data": "demo", "data_revision": "e" * 64},
        {"completeness": "custom", "data_revision": "e" * 64},
    ],
)
def test_what_must_not_be_compared_gets_tables_of_its_own(tmp_path, other):
    write_run(tmp_path, score=0.4)
    write_run(tmp_path, score=0.6, **{"seed": 1, **other})
    tables = build_report([tmp_path]).tables
    assert len(tables) == 2
    assert all(row.cells[0].seeds in {(0,), (1,)} for table in tables for row in table.rows)


def test_a_title_says_what_precision_is_not_the_usual_one(tmp_path):
    write_run(tmp_path)
    write_run(tmp_path, seed=1, precision="bf16")
    titles = [table.title for table in build_report([tmp_path]).tables]
    assert sorted("bf16" in title for title in titles) == [False, True]


def test_other_examples_or_another_metric_of_one_task_are_another_column(tmp_path):
    write_run(tmp_path, task="rte")
    write_run(tmp_path, task="rte", seed=1, completeness="partial", data_revision="e" * 64)
    write_run(tmp_path, task="cola")
    table = only_table(tmp_path)
    assert [(c.task, c.mark) for c in table.columns] == [
        ("cola", ""),
        ("rte", "data dddddd"),
        ("rte", "data eeeeee"),
    ]
    assert table.rows[0].average is None
    assert not table.averages


def test_equal_examples_from_hub_and_folder_are_one_column(tmp_path):
    write_run(tmp_path, origin="hub: nyu-mll/glue@" + "e" * 40)
    write_run(tmp_path, seed=1, data="/data/glue")
    table = only_table(tmp_path)
    assert table.columns[0].origins == ("folder: glue", "hub: nyu-mll/glue@" + "e" * 40)
    assert table.rows[0].cells[0].seeds == (0, 1)


def test_a_seed_that_was_run_twice_counts_once(tmp_path):
    write_run(tmp_path / "a", score=0.4)
    write_run(tmp_path / "b", score=0.6, data="/elsewhere")
    write_run(tmp_path / "c", score=0.8)
    report = build_report([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert report.tables[0].rows[0].cells[0].scores["matthews_correlation"].n == 1
    assert report.left_out == {"repeated": 2}


def test_epochs_that_max_steps_overrides_make_no_second_seed(tmp_path):
    write_run(tmp_path, score=0.4, max_steps=9, epochs=20.0)
    write_run(tmp_path, score=0.6, max_steps=9, epochs=3.0)
    report = build_report([tmp_path])
    assert report.tables[0].rows[0].cells[0].seeds == (0,)
    assert report.left_out == {"repeated": 1}


def test_only_done_runs_enter_and_the_others_are_counted(tmp_path):
    write_run(tmp_path, score=0.5)
    for seed, status in enumerate(["diverged", "interrupted", "interrupted"], 1):
        write_run(tmp_path, seed=seed, status=status)
    (write_run(tmp_path, seed=9) / "result.json").unlink()
    report = build_report([tmp_path])
    assert report.tables[0].rows[0].cells[0].seeds == (0,)
    assert report.left_out == {"interrupted": 2, "diverged": 1, "unfinished": 1}


def test_nothing_done_is_no_error(tmp_path):
    write_run(tmp_path, status="out-of-memory")
    report = build_report([tmp_path])
    assert (report.tables, report.left_out) == ((), {"out-of-memory": 1})


def test_averages_leave_wnli_out_and_take_a_tasks_metrics_together_or_the_main_one(tmp_path):
    scores = {"cola": [0.60, 0.62], "mrpc": [(0.86, 0.90), (0.88, 0.91)], "wnli": [0.1, 0.2]}
    for task, of_seeds in scores.items():
        for seed, score in enumerate(of_seeds):
            write_run(tmp_path, score=score, task=task, seed=seed)
    row = only_table(tmp_path).rows[0]
    glue, main = [(0.60 + 0.88) / 2, (0.62 + 0.895) / 2], [(0.60 + 0.86) / 2, (0.62 + 0.88) / 2]
    for average, by_seed in ((row.average, glue), (row.main_average, main)):
        assert average.mean == pytest.approx(np.mean(by_seed))
        assert average.std == pytest.approx(np.std(by_seed, ddof=1))
        assert average.n == 2


def test_a_row_that_lacks_a_task_has_no_average_but_one_that_lacks_wnli_has(tmp_path):
    for task in ("cola", "rte", "wnli"):
        write_run(tmp_path, "ft", task=task)
    for task in ("cola", "rte"):
        write_run(tmp_path, "lora", task=task)
    write_run(tmp_path, "sparsegrad", task="cola")
    table = only_table(tmp_path)
    assert row_of(table, "ft").average
    assert row_of(table, "lora").average
    assert row_of(table, "sparsegrad").average is None
    assert [cell is None for cell in row_of(table, "sparsegrad").cells] == [False, True, True]


def test_the_average_has_no_deviation_where_no_two_seeds_have_all_tasks(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, score=0.5, task="cola", seed=seed)
    write_run(tmp_path, score=0.7, task="rte")
    average = only_table(tmp_path).rows[0].average
    assert (average.mean, average.std, average.n) == (pytest.approx(0.6), None, 1)


def test_collapsed_runs_are_counted(tmp_path):
    write_run(tmp_path, single_class=True)
    write_run(tmp_path, seed=1)
    assert only_table(tmp_path).rows[0].cells[0].collapsed == 1


def test_costs_are_means_and_unmeasured_ones_are_absent(tmp_path):
    write_run(tmp_path, "sparsegrad", steps_per_second=2.0, peak_memory_bytes=None)
    write_run(tmp_path, "sparsegrad", steps_per_second=4.0, peak_memory_bytes=None, seed=1)
    cost = only_table(tmp_path).rows[0].cost
    assert (cost.runs, cost.steps_per_second, cost.peak_memory_bytes) == (2, 3.0, None)
    assert (cost.trainable, cost.head, cost.touched) == (15_706_874, 770, 580_387)
    assert cost.adapted_share == 0.01
    assert cost.touched_share == pytest.approx(580_387 / 7_077_600)


def test_the_share_of_a_kept_number_is_taken_from_full_fine_tuning(tmp_path):
    write_run(tmp_path, "sparsegrad", density=None, kept=5898)
    assert only_table(tmp_path).rows[0].cost.adapted_share is None
    write_run(tmp_path, "ft")
    cost = row_of(only_table(tmp_path), "sparsegrad").cost
    assert cost.adapted_share == pytest.approx(70_776 / 7_077_888)


def test_costs_are_compared_on_the_tasks_that_all_rows_have(tmp_path):
    write_run(tmp_path, "ft", task="cola", steps_per_second=4.0)
    write_run(tmp_path, "ft", task="rte", steps_per_second=1.0)
    write_run(tmp_path, "lora", task="cola", steps_per_second=5.0)
    table = only_table(tmp_path)
    assert [row.cost.steps_per_second for row in table.rows] == [4.0, 5.0]
    assert table.caption["cost"].endswith("over the tasks that every row has: cola")


def test_costs_of_rows_without_a_common_task_are_said_not_to_compare(tmp_path):
    write_run(tmp_path, "ft", task="cola")
    write_run(tmp_path, "lora", task="rte")
    assert "not to be compared" in only_table(tmp_path).caption["cost"]


def test_a_run_in_parts_for_want_of_memory_stands_in_its_row_and_is_told(tmp_path):
    write_run(tmp_path, seed=0)
    path = write_run(tmp_path, seed=1) / "result.json"
    path.write_text(path.read_text().replace('"accumulation_steps": 1', '"accumulation_steps": 4'))
    table = only_table(tmp_path)
    assert [(row.label, row.cells[0].seeds) for row in table.rows] == [("ft", (0, 1))]
    assert "1 run ran out of it" in table.caption["memory"]
    write_run(tmp_path / "whole", seed=0)
    assert "memory" not in only_table(tmp_path / "whole").caption


def test_the_rest_frozen_is_another_table(tmp_path):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=0, freeze_rest=True)
    tables = build_report([tmp_path]).tables
    assert [table.freeze_rest for table in tables] == [False, True]
    assert "frozen" in tables[1].title
    assert [len(table.rows) for table in tables] == [1, 1]
