"""What stands in one row: never two configurations in one cell."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.report.rows import SCHEDULE, SETTINGS, one_schedule_a_task, schedule_of, split_rows

from .runs import CONFIG, OWN


def frame(*runs: dict) -> pd.DataFrame:
    defaults = {**CONFIG.model_dump(), "hyperparameters_from": "paper table 14"}
    return pd.DataFrame([{**defaults, **OWN[run.get("method", "ft")], **run} for run in runs], dtype=object)


def labels(*runs: dict) -> list[str]:
    return [f"{row.method} | {row.suffix}" for row in split_rows(frame(*runs))]


def test_methods_stand_in_order_and_plain_where_nothing_differs():
    found = labels(*({"method": m} for m in ("sparsegrad", "lora", "ft", "meprop")))
    assert found == ["ft | ", "lora | ", "meprop | ", "sparsegrad | "]


def test_a_setting_that_differs_within_a_method_names_its_rows_only():
    found = labels(
        {"method": "lora"},
        {"method": "sparsegrad", "density": 0.05},
        {"method": "sparsegrad"},
        {"method": "sparsegrad", "density": None, "kept": 28000},
    )
    assert found == [
        "lora | ",
        "sparsegrad | density 0.01",
        "sparsegrad | density 0.05",
        "sparsegrad | kept 28000",
    ]


def test_a_setting_of_all_methods_is_named_in_every_row_where_it_differs_between_methods():
    assert labels({"max_steps": 100}, {"method": "lora", "max_steps": 500}) == [
        "ft | max-steps 100",
        "lora | max-steps 500",
    ]
    assert labels({"max_steps": 100}, {"method": "lora"}) == ["ft | max-steps 100", "lora | epochs 20"]


def test_different_densities_of_meprop_and_sparsegrad_are_named():
    found = labels({"method": "meprop", "density": 0.1}, {"method": "sparsegrad"})
    assert found == ["meprop | density 0.1", "sparsegrad | density 0.01"]


def test_epochs_do_not_split_rows_where_steps_override_them():
    assert labels({"max_steps": 9, "epochs": 3.0}, {"max_steps": 9, "epochs": 20.0, "seed": 1}) == ["ft | "]


def test_learning_rates_of_different_tasks_do_not_split_a_row():
    assert labels({"learning_rate": 1e-5}, {"task": "rte", "learning_rate": 3e-5, "batch_size": 32}) == [
        "ft | "
    ]


def test_two_learning_rates_on_one_task_do():
    found = labels({}, {"learning_rate": 5e-5}, {"learning_rate": 5e-5, "seed": 1})
    assert found == ["ft | lr 5e-05, batch 16", "ft | lr 0.0001, batch 16"]


def test_learning_rates_that_look_the_same_are_not_averaged():
    rows = split_rows(frame({"learning_rate": 1.00000001e-5}, {"learning_rate": 1e-5}))
    assert [len(row.runs) for row in rows] == [1, 1]


def test_a_rate_chosen_by_hand_leaves_the_row_of_the_papers_rates_whole():
    rows = split_rows(
        frame(
            {"task": "cola", "learning_rate": 1e-5},
            {"task": "rte", "learning_rate": 3e-5},
            {"task": "cola", "learning_rate": 7e-5, "hyperparameters_from": "options"},
        )
    )
    assert [(row.suffix, list(row.runs["task"])) for row in rows] == [
        ("paper table 14", ["cola", "rte"]),
        ("lr 7e-05, batch 16", ["cola"]),
    ]


def test_typing_the_papers_rate_by_hand_makes_no_row_of_its_own():
    rows = split_rows(frame({}, {"seed": 1, "hyperparameters_from": "options"}, {"learning_rate": 1e-3}))
    assert sorted(len(row.runs) for row in rows) == [1, 2]


RUNS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(sorted(OWN)),
        "task": st.sampled_from(["cola", "rte", "mine"]),
        "learning_rate": st.sampled_from([1e-5, 3e-5, 1e-4]),
        "batch_size": st.sampled_from([16, 32]),
        "hyperparameters_from": st.sampled_from(
            ["paper table 14", "options", "default", "learning rate: option, batch size: default"]
        ),
    },
    optional={
        "seed": st.integers(0, 2),
        "max_steps": st.sampled_from([None, 100]),
        "epochs": st.sampled_from([3.0, 20.0]),
        "density": st.sampled_from([None, 0.01, 0.02]),
        "kept": st.sampled_from([None, 500]),
        "basis": st.sampled_from([None, "ab" * 32]),
        "freeze_rest": st.booleans(),
    },
)


@settings(max_examples=50, deadline=None)
@given(st.lists(RUNS, min_size=1, max_size=14))
def test_no_run_is_lost_no_cell_mixes_and_no_two_rows_look_alike(runs):
    found = frame(*runs)
    rows = split_rows(found)
    assert sorted(i for row in rows for i in row.runs.index) == list(found.index)
    of_tasks = one_schedule_a_task(found.to_dict("records"))
    row_settings = [name for name in SETTINGS if name not in SCHEDULE or not of_tasks]
    names = [(row.method, row.suffix) for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        same = row.runs.assign(epochs=row.runs["epochs"].where(row.runs["max_steps"].isna(), None))
        assert len(same[["method", *row_settings]].drop_duplicates()) == 1
        for _, cell in same.groupby("task"):
            assert len(cell[["learning_rate", "batch_size", *SCHEDULE]].drop_duplicates()) == 1
    for _, column in found.groupby("task"):
        schedules = {tuple(schedule_of(run).values()) for run in column.to_dict("records")}
        assert len(schedules) == 1 or not of_tasks


def test_tasks_may_be_trained_for_different_lengths_in_one_row():
    rows = split_rows(frame({"task": "cola", "epochs": 2.0}, {"task": "rte", "epochs": 1.0, "eval_steps": 5}))
    assert [(row.suffix, len(row.runs)) for row in rows] == [("", 2)]


def test_a_task_that_was_trained_for_two_lengths_makes_rows_that_say_so():
    rows = split_rows(
        frame({"task": "cola"}, {"task": "rte", "max_steps": 10}, {"task": "rte", "max_steps": 20, "seed": 1})
    )
    assert [row.suffix for row in rows] == ["max-steps 10", "max-steps 20", "epochs 20"]
