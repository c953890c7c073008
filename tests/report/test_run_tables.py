"""Numbers of tables of runs: means, averages, costs, settings, ratings, and all of them in long form."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from sparsegrad_cli.report import Report, build_report
from sparsegrad_cli.report.long_form import long_form
from sparsegrad_cli.report.run_tables import GroupTable, ablation_table
from sparsegrad_cli.report.table import Table

from .chats import write_chat, write_judgement
from .runs import PARAMETERS, write_run


def only(folder: Path, **how: object) -> GroupTable:
    (made,) = build_report([folder], **how).groups
    return made


def column(table: Table, head: str) -> list[str]:
    (found,) = [list(c.cells) for c in table.columns if c.head.replace("\n", " ") == head]
    return found


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    for seed, score in enumerate((0.50, 0.52, 0.57)):
        write_run(tmp_path, "ft", score, seed=seed)
    write_run(tmp_path, "lora", 0.4)
    made = only(tmp_path)
    score = made.score(made.rows[0], made.columns[0])
    assert (score.mean, score.std, score.n) == (pytest.approx(0.53), pytest.approx(0.03606, abs=1e-5), 3)
    assert made.score(made.rows[1], made.columns[0]).std is None
    assert column(made.table(), "cola Matthews") == ["53.0 ± 3.6 (3)", "40.0 (1)"]


def test_an_average_takes_a_tasks_metrics_together_and_leaves_wnli_out(tmp_path):
    for task, score in {"cola": 0.4, "mrpc": (0.8, 0.9), "wnli": 0.0}.items():
        write_run(tmp_path, "ft", score, task=task)
    made = only(tmp_path)
    assert made.average(made.rows[0]).mean == pytest.approx((0.4 + 0.85) / 2)
    numbers = long_form([made], []).set_index("metric")["mean"]
    assert numbers["average of main metrics"] == pytest.approx((0.4 + 0.8) / 2)


def test_the_average_has_no_deviation_where_no_two_seeds_have_all_tasks(tmp_path):
    for task, seeds in {"cola": (0, 1), "rte": (1, 2)}.items():
        for seed in seeds:
            write_run(tmp_path, "ft", 0.5 + seed / 10, task=task, seed=seed)
    made = only(tmp_path)
    average = made.average(made.rows[0])
    assert (average.mean, average.std, average.n) == (pytest.approx(0.6), None, 1)


def test_costs_are_means_over_the_tasks_that_all_rows_have(tmp_path):
    write_run(tmp_path, "ft", 0.5, steps_per_second=2.0, peak_memory_bytes=None)
    write_run(tmp_path, "lora", 0.5, steps_per_second=4.0)
    write_run(tmp_path, "lora", 0.5, task="rte", steps_per_second=100.0)
    made = only(tmp_path)
    assert (made.costs["ft"].steps_per_second, made.costs["ft"].peak_memory_bytes) == (2.0, None)
    assert made.costs["lora"].steps_per_second == 4.0


@pytest.mark.parametrize("how", [{"density": 0.01}, {"density": None, "kept": 5_898}])
def test_the_share_of_trained_entries_is_told_or_taken_from_full_fine_tuning(tmp_path, how):
    write_run(tmp_path, "ft", 0.5)
    write_run(tmp_path, "sparsegrad", 0.5, **how)
    cost = only(tmp_path).costs["sparsegrad"]
    assert cost.share == pytest.approx(0.01, abs=1e-4)
    assert cost.touched_share == pytest.approx(580_387 / 7_077_888, rel=1e-3)


def test_collapsed_runs_and_rates_at_the_edge_are_marked(tmp_path):
    for place, rate in enumerate((1e-4, 1e-3, 1e-2)):
        collapsed = place == 1
        write_run(
            tmp_path, "ft", 0.5, learning_rate=rate, selection_score=collapsed / 10, single_class=collapsed
        )
        write_run(tmp_path, "lora", 0.5, learning_rate=rate, selection_score=place / 10)
    assert column(only(tmp_path).table(), "cola Matthews") == ["50.0†", "50.0‡"]


def test_what_varies_in_a_method_has_a_table_of_its_own_with_differences_to_the_first_row(tmp_path):
    for seed in (0, 1):
        for method in ("ft", "lora", "meprop", "sparsegrad"):
            write_run(tmp_path, method, 0.5, task="rte", seed=seed)
        for density in (0.02, 0.05, 0.1):
            run = write_run(tmp_path, "sparsegrad", 0.5 + density, task="rte", seed=seed, density=density)
            predictions(run, 0.5 + density)
    predictions_of_all(tmp_path)
    report = build_report([tmp_path])
    (made,) = report.ablations
    table = ablation_table(made)
    assert column(table, "density") == ["0.01", "0.02", "0.05", "0.1"]
    assert column(table, "rte accuracy") == ["50.0 ± 0.0", "52.0 ± 0.0", "55.0 ± 0.0", "60.0 ± 0.0"]
    assert [cell.split()[0].rstrip("*") for cell in column(table, "less the first row")[1:]] == [
        "+2.0",
        "+5.0",
        "+10.0",
    ]
    assert column(table, "less the first row")[0] == ""


def test_a_setting_tried_at_all_rates_stands_at_its_best_another_at_the_rate_of_the_first(tmp_path):
    best = {0.01: 1e-3, 0.05: 3e-3}
    for rate in (3e-4, 1e-3, 3e-3):
        for density in best:
            settings = {"learning_rate": rate, "density": density}
            write_run(tmp_path, "sparsegrad", rate, selection_score=0.5 + (rate == best[density]), **settings)
    write_run(tmp_path, "sparsegrad", 0.9, learning_rate=1e-3, density=0.02)
    write_run(tmp_path, "sparsegrad", 0.8, selection_score=0.99, learning_rate=3e-3, density=0.02)
    # the first has a task more, so the rest stand in a table of their own
    write_run(tmp_path, "sparsegrad", 0.5, task="rte")
    (made,) = build_report([tmp_path]).ablations
    found = {row.runs["density"].iloc[0]: row.choices["cola"].recipe[0] for row in made.rows}
    assert found == {0.01: 1e-3, 0.05: 3e-3, 0.02: 1e-3}


def predictions(run: Path, share: float) -> None:
    """The first of 100 examples right, so many of them."""
    right = [int(place < round(100 * share)) for place in range(100)]
    frame = pd.DataFrame({"split": "validation", "idx": range(100), "label": 1, "prediction": right})
    frame.to_parquet(run / "predictions.parquet")


def predictions_of_all(folder: Path) -> None:
    for run in (folder / "runs").iterdir():
        if not (run / "predictions.parquet").exists():
            predictions(run, 0.5)


def chat(folder: Path) -> Report:
    for seed in (0, 1):
        write_chat(folder, "lora", 2.0 + seed / 100, before=2.4, seed=seed)
        write_chat(folder, "sparsegrad", 2.1 + seed / 100, before=2.4, seed=seed)
    return build_report([folder])


def test_conversations_stand_in_nats_beside_the_start(tmp_path):
    (made,) = chat(tmp_path).groups
    table = made.table()
    assert column(table, "method") == ["not trained", "lora", "sparsegrad"]
    assert column(table, "oasst1 loss") == ["2.400", "2.005 ± 0.007", "2.105 ± 0.007"]
    assert column(table, "perplexity")[0] == f"{math.exp(2.4):.2f}"
    assert column(table, "sparsegrad less this")[1].startswith("+0.100* [")


def test_ratings_are_means_over_runs_and_say_what_was_not_rated(tmp_path):
    runs = [write_chat(tmp_path, "lora", 2.0, seed=seed) for seed in (0, 1)]
    write_judgement(tmp_path, runs[0], 6.0, unrated=4)
    write_judgement(tmp_path, runs[0], 7.0, answers={"seed": 1})  # another sample of answers: the same run
    write_judgement(tmp_path, runs[1], 8.0)
    write_judgement(tmp_path, None, 3.0)
    write_judgement(tmp_path, runs[1], 2.0, judge_model="other")
    (made,) = build_report([tmp_path]).groups
    table = made.table()
    assert column(table, "rated by gpt-4") == ["3.00", "7.25 ± 1.06"]
    assert column(table, "rated by other") == ["–", "2.00"]
    ratings = made.rating_tables()[0]
    assert column(ratings, "turn 1") == ["3.50", "7.50"]
    assert column(ratings, "math") == ["2.00", "6.00"]
    assert column(ratings, "unrated") == ["0 of 160", "4 of 480"]


def test_the_long_form_has_every_cell_recipe_metric_and_difference(tmp_path):
    for method in ("lora", "sparsegrad"):
        for seed in (0, 1):
            write_run(tmp_path, method, (0.8, 0.9), task="mrpc", seed=seed, selection_score=0.9)
    write_run(tmp_path, "lora", (0.1, 0.1), task="mrpc", learning_rate=1e-2, selection_score=0.1)
    predictions_of_all(tmp_path)
    made = only(tmp_path)
    numbers = long_form([made], [])
    scores = numbers[numbers["kind"] == "score"]
    assert not scores.duplicated(["method", "settings", "task", "metric", "learning_rate"]).any()
    assert sorted(scores["learning_rate"].unique()) == [1e-4, 1e-2]
    assert scores.loc[scores["learning_rate"] == 1e-2, "chosen"].tolist() == [False, False]
    assert scores.loc[scores["metric"] == "f1", "mean"].max() == pytest.approx(0.9)
    (difference,) = numbers[numbers["kind"] == "difference"].to_dict("records")
    assert (difference["method"], difference["other"], difference["n"]) == ("sparsegrad", "lora", 2)
    assert (difference["mean"], difference["p"]) == (0.0, 1.0)
    costs = numbers[(numbers["kind"] == "cost") & (numbers["method"] == "lora")].set_index("metric")["mean"]
    assert costs["trainable"] == PARAMETERS["lora"].trainable
