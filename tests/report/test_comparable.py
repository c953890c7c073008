"""Which runs may be compared, and which of a method's settings stands for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.report.comparable import Group, Row, split_groups
from sparsegrad_cli.report.load import load_results

from .runs import write_run

RATES = (3e-4, 1e-3, 3e-3)


def groups(folder: Path) -> list[Group]:
    return split_groups(load_results([folder]).done)


def labels(rows: list[Row]) -> list[str]:
    return [row.label for row in rows]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "roberta-base"},
        {"checkpoint": "sha256:" + "cd" * 32},
        {"protocol": "heldout"},
        {"device": "cuda"},
        {"precision": "bf16"},
        {"freeze_rest": True},
        {"length": 64},
        {"blocks": "every:3"},
        {"completeness": "synthetic"},
        {"completeness": "custom"},
    ],
)
def test_what_must_not_be_compared_is_in_groups_of_its_own(tmp_path, other):
    write_run(tmp_path, "ft", 0.5)
    write_run(tmp_path, "lora", 0.5, **{"model_revision": "other", **other})
    assert [len(group.all_rows) for group in groups(tmp_path)] == [1, 1]


def test_groups_of_one_title_say_what_tells_them_apart(tmp_path):
    write_run(tmp_path, "ft", 0.5)
    write_run(tmp_path, "ft", 0.5, length=64)
    write_run(tmp_path, "ft", 0.5, protocol="heldout")
    titles = [group.title for group in groups(tmp_path)]
    assert len(set(titles)) == 3
    assert sorted(title.partition("protocol")[2] for title in titles) == ["", ", length 128", ", length 64"]


def test_tasks_may_be_trained_for_different_lengths_but_one_task_may_not(tmp_path):
    write_run(tmp_path, "ft", 0.5, epochs=2.0)
    write_run(tmp_path, "ft", 0.5, task="rte", epochs=1.0)
    assert len(groups(tmp_path)) == 1
    write_run(tmp_path, "lora", 0.5, task="rte", epochs=3.0)
    found = groups(tmp_path)
    assert len(found) == 3
    assert {group.differs for group in found} == {(f"epochs {n}", "patience 5") for n in (1, 2, 3)}


def test_methods_stand_in_order_and_settings_are_named_only_where_they_differ(tmp_path):
    for method in ("sparsegrad", "meprop", "lora", "ft"):
        write_run(tmp_path, method, 0.5)
    (group,) = groups(tmp_path)
    assert labels(group.rows) == ["ft", "lora", "meprop", "sparsegrad"]
    write_run(tmp_path, "sparsegrad", 0.5, density=0.05)
    (group,) = groups(tmp_path)
    assert labels(group.rows) == ["ft", "lora", "meprop", "sparsegrad", "sparsegrad (density 0.05)"]
    assert group.ablations == {}


def test_many_settings_of_a_method_leave_the_comparison_for_a_chapter_of_their_own(tmp_path):
    for method in ("ft", "lora", "meprop", "sparsegrad"):
        write_run(tmp_path, method, 0.5)
    for how in ({"density": 0.05}, {"basis_rank": 96}, {"calibration_steps": 4}):
        write_run(tmp_path, "sparsegrad", 0.9, **how)
    (group,) = groups(tmp_path)
    assert labels(group.rows) == ["ft", "lora", "meprop", "sparsegrad"]
    assert {label.partition(" ")[2] for label in labels(group.ablations["sparsegrad"])} == {
        *("", "(density 0.05)", "(basis-rank 96)", "(calibration-steps 4)")
    }


def test_the_setting_with_the_most_runs_is_the_reference_then_the_papers(tmp_path):
    write_run(tmp_path, "sparsegrad", 0.5)
    write_run(tmp_path, "sparsegrad", 0.5, density=0.05)
    assert groups(tmp_path)[0].all_rows[0].runs["density"].iloc[0] == 0.01
    write_run(tmp_path, "sparsegrad", 0.5, density=0.05, seed=1)
    assert groups(tmp_path)[0].all_rows[0].runs["density"].iloc[0] == 0.05


def rate(folder: Path, method: str, rate: float, score: float, selects: float, seed: int = 0) -> None:
    write_run(folder, method, score, learning_rate=rate, seed=seed, selection_score=selects)


def test_a_method_is_shown_at_the_rate_that_did_best_on_the_split_that_selects(tmp_path):
    for place, value in enumerate(RATES):
        rate(tmp_path, "lora", value, score=0.9 - place / 10, selects=0.5 + (place == 1) / 10)
    (row,) = groups(tmp_path)[0].rows
    choice = row.choices["cola"]
    assert (choice.recipe[0], choice.tried, choice.at_edge) == (1e-3, 3, False)
    assert row.runs["score"].tolist() == [pytest.approx(0.8)]
    assert len(row.everything) == 3


def test_a_best_rate_at_the_edge_of_what_was_tried_is_known(tmp_path):
    for place, value in enumerate(RATES):
        rate(tmp_path, "lora", value, 0.5, selects=place / 10)
    assert groups(tmp_path)[0].rows[0].choices["cola"].at_edge


def test_a_worse_rate_that_others_did_not_try_shows_that_the_best_is_at_no_edge(tmp_path):
    for method in ("ft", "lora"):
        for value, selects in zip((1e-4, 3e-4, 1e-3), (0.7, 0.6, 0.5), strict=True):
            rate(tmp_path, method, value, 0.5, selects)
    rate(tmp_path, "ft", 3e-5, 0.5, selects=0.6)
    choices = [row.choices["cola"] for row in groups(tmp_path)[0].rows]
    assert [(choice.recipe[0], choice.tried, choice.at_edge) for choice in choices] == [
        (1e-4, 3, False),
        (1e-4, 3, True),
    ]


def test_rates_are_chosen_among_those_that_every_method_tried(tmp_path):
    for place, value in enumerate(RATES):
        rate(tmp_path, "lora", value, 0.5, selects=place / 10)  # the highest is the best
    for value in RATES[:2]:
        rate(tmp_path, "sparsegrad", value, 0.5, selects=0.5 + value)
    (group,) = groups(tmp_path)
    assert [row.choices["cola"].recipe[0] for row in group.rows] == [1e-3, 1e-3]
    assert [row.choices["cola"].tried for row in group.rows] == [2, 2]


def test_rates_of_other_scales_are_chosen_each_among_its_own(tmp_path):
    for place, value in enumerate([1e-5, 1e-4, 1e-3]):
        rate(tmp_path, "ft", value, 0.5, selects=0.5 + (place == 1) / 10)
    for place, value in enumerate([1e-3, 3e-3, 1e-2, 3e-2]):
        rate(tmp_path, "lora", value, 0.5, selects=0.5 + (place == 2) / 10)
    (group,) = groups(tmp_path)
    assert [row.choices["cola"].recipe[0] for row in group.rows] == [1e-4, 1e-2]
    assert [row.choices["cola"].tried for row in group.rows] == [3, 4]


def test_rates_are_chosen_on_the_seeds_that_all_of_them_have(tmp_path):
    rate(tmp_path, "lora", 1e-3, 0.5, selects=0.8)
    rate(tmp_path, "lora", 1e-3, 0.5, selects=0.2, seed=1)
    rate(tmp_path, "lora", 3e-3, 0.5, selects=0.7)
    (row,) = groups(tmp_path)[0].rows
    assert row.choices["cola"].recipe[0] == 1e-3
    assert sorted(row.runs["seed"]) == [0, 1]


def test_a_user_task_and_other_examples_of_a_task_are_columns_of_their_own(tmp_path):
    write_run(tmp_path, "ft", 0.5, task="rte")
    write_run(tmp_path, "ft", 0.5)
    write_run(tmp_path, "ft", 0.5, data_revision="e" * 64)
    (group,) = groups(tmp_path)
    assert [column.name for column in group.columns] == ["cola (data dddddd)", "cola (data eeeeee)", "rte"]
    assert group.average_over == ()


def test_the_average_is_over_the_tasks_that_every_row_has(tmp_path):
    for task in ("cola", "rte", "sst2"):
        write_run(tmp_path, "lora", 0.5, task=task)
    for task in ("cola", "rte", "wnli"):
        write_run(tmp_path, "ft", 0.5, task=task)
    (group,) = groups(tmp_path)
    assert [column.task for column in group.average_over] == ["cola", "rte"]


settings_drawn = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["lora", "sparsegrad"]),
        "task": st.sampled_from(["cola", "rte"]),
        "learning_rate": st.sampled_from(RATES),
        "density": st.sampled_from([0.01, 0.05]),
        "seed": st.integers(0, 1),
    }
)


@settings(max_examples=6, deadline=None)
@given(runs=st.lists(settings_drawn, min_size=1, max_size=8))
def test_no_run_is_lost_no_cell_mixes_settings_and_no_two_rows_look_alike(tmp_path_factory, runs):
    folder = tmp_path_factory.mktemp("drawn")
    for run in runs:
        drawn = {**run, "density": run["density"] if run["method"] == "sparsegrad" else None}
        write_run(folder, score=0.5, **drawn)
    done = load_results([folder]).done
    found = split_groups(done)
    assert sum(len(row.everything) for group in found for row in group.all_rows) == len(done)
    for group in found:
        assert len(set(labels(group.all_rows))) == len(group.all_rows)
        for row in group.all_rows:
            assert not row.runs.duplicated(["task", "seed"]).any()
            assert row.runs.groupby("task")["learning_rate"].nunique().max() == 1
            assert row.everything["density"].nunique() <= 1
