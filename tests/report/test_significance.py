"""Which rows are compared, over which seeds and examples, and what may be said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.run_tables import GroupTable
from sparsegrad_cli.report.significance import Comparison
from sparsegrad_cli.report.summary import power_words, rate_sentences, sentence
from sparsegrad_cli.report.table import NATS, POINTS

from .chats import write_chat
from .runs import write_run

SIZE = 200


def write(folder: Path, method: str, right: int, seed: int = 0, task: str = "rte", **how: object) -> Path:
    """A run that has the first `right` of 200 examples right; MNLI's second split all wrong."""
    run = write_run(folder, method, right / SIZE, task=task, seed=seed, **how)
    predicted = pd.DataFrame({"split": "validation", "idx": range(SIZE), "label": 1})
    predicted["prediction"] = (predicted["idx"] < right).astype(int)
    if task == "mnli":
        other = predicted.assign(split="validation_mismatched", prediction=0)
        predicted = pd.concat([predicted.assign(split="validation_matched"), other])
    predicted.sample(frac=1, random_state=seed).sort_values("split").to_parquet(run / "predictions.parquet")
    return run


def found_in(folder: Path, baseline: str | None = None) -> GroupTable:
    (made,) = build_report([folder], baseline=baseline).groups
    return made


def only(made: GroupTable, task: str = "rte") -> Comparison:
    (comparison,) = made.significance.main(task)
    return comparison


def test_the_difference_is_over_the_seeds_that_both_have(tmp_path):
    for seed, (ours, theirs) in enumerate([(150, 140), (152, 140), (154, 140), (199, None), (None, 1)]):
        if ours:
            write(tmp_path, "sparsegrad", ours, seed)
        if theirs:
            write(tmp_path, "lora", theirs, seed)
    each = only(found_in(tmp_path))
    assert (each.subject, each.other, each.seeds, each.examples) == ("sparsegrad", "lora", (0, 1, 2), SIZE)
    assert each.difference == pytest.approx(0.06)
    assert each.low < each.low90 < 0.06 < each.high90 < each.high
    assert each.std == pytest.approx(0.01)
    assert each.p == each.p_holm  # one comparison: nothing to correct


def test_the_split_that_gives_the_score_alone_counts(tmp_path):
    write(tmp_path, "sparsegrad", 150, task="mnli")
    write(tmp_path, "ft", 100, task="mnli")
    each = only(found_in(tmp_path), "mnli")
    assert (each.examples, each.difference) == (SIZE, pytest.approx(0.25))


def test_a_task_of_the_users_with_suffixes_of_its_own_is_compared(tmp_path):
    for method, right in (("sparsegrad", 150), ("lora", 100)):
        metrics = {"accuracy-a": right / SIZE, "f1-a": 0.5, "accuracy-b": 0.1}
        write(tmp_path, method, right, task="mine", completeness="custom", metrics=metrics)
    assert only(found_in(tmp_path), "mine").difference == pytest.approx(0.25)


def test_runs_without_or_with_other_predictions_are_named_and_not_compared(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path, "sparsegrad", 150, seed)
        write(tmp_path, "lora", 140, seed)
    (write(tmp_path, "lora", 140, 1) / "predictions.parquet").unlink()
    (write(tmp_path, "lora", 140, 2) / "predictions.parquet").write_bytes(b"PAR1 cut short")
    write(tmp_path, "ft", 100)
    made = found_in(tmp_path)
    (lora,) = [each for each in made.significance.comparisons if each.other == "lora"]
    assert lora.seeds == (0,)
    assert [words.split(":")[0] for words in made.significance.left_out] == [
        "lora seed 1 on rte",
        "lora seed 2 on rte",
    ]


@pytest.mark.parametrize(
    ("baseline", "pairs"),
    [
        (None, {("sparsegrad", "ft"), ("sparsegrad", "lora"), ("sparsegrad", "meprop")}),
        ("lora", {("ft", "lora"), ("meprop", "lora"), ("sparsegrad", "lora")}),
    ],
)
def test_the_baseline_is_compared_with_every_other_method(tmp_path, baseline, pairs):
    for method in ("ft", "lora", "meprop", "sparsegrad"):
        for seed in (0, 1):
            write(tmp_path, method, 140 + seed, seed)
    made = found_in(tmp_path, baseline)
    assert {(each.subject, each.other) for each in made.significance.comparisons} == pairs
    assert made.fixed == (baseline or "sparsegrad")
    assert [bool(made.comparison(row, "rte")) for row in made.rows] == [
        row.label != made.fixed for row in made.rows
    ]


def test_without_sparsegrad_lora_is_the_baseline_and_a_baseline_that_was_not_run_is_bad_input(tmp_path):
    for method in ("ft", "lora"):
        write(tmp_path, method, 140)
    assert only(found_in(tmp_path)).other == "lora"
    with pytest.raises(InputError, match=r"--baseline meprop: .*there is ft, lora"):
        found_in(tmp_path, "meprop")


def test_holm_corrects_within_the_average_and_within_the_tasks(tmp_path):
    rng = np.random.default_rng(0)
    for method, right in {"sparsegrad": 120, "lora": 110, "ft": 112, "meprop": 119}.items():
        for task in ("rte", "qnli"):
            for seed in (0, 1, 2):
                write(tmp_path, method, int(right + rng.integers(-3, 4)), seed, task)
    found = found_in(tmp_path).significance.comparisons
    for is_average, size in ((True, 3), (False, 6)):
        family = sorted((each for each in found if (each.task == "average") == is_average), key=lambda e: e.p)
        assert len(family) == size
        assert family[0].p_holm == pytest.approx(min(1.0, size * family[0].p))


def test_the_average_is_compared_over_the_tasks_of_the_average(tmp_path):
    for task, (ours, theirs) in {"rte": (150, 140), "qnli": (160, 140)}.items():
        for seed in (0, 1):
            write(tmp_path, "sparsegrad", ours, seed, task)
            write(tmp_path, "lora", theirs, seed, task)
    each = only(found_in(tmp_path), "average")
    assert (each.difference, each.examples, each.seeds) == (pytest.approx(0.075), 2 * SIZE, (0, 1))


def comparison(low: float, high: float, p: float = 0.5, seeds: int = 5) -> Comparison:
    middle = (low + high) / 2
    return Comparison(
        "sparsegrad", "lora", "rte", middle, low, high, low, high, p, p, tuple(range(seeds)), 0.01, 100
    )


def test_one_function_says_what_is_significant_level_or_open():
    assert (
        comparison(0.01, 0.05, 0.01).words(POINTS) == "3.0 points above lora (+3.0 [1.0, 5.0], significant)"
    )
    assert comparison(0.01, 0.05, 0.01).cell(POINTS) == "+3.0* [1.0, 5.0]"
    assert comparison(-0.005, 0.007).words(POINTS).startswith("level with lora within 1 point (")
    assert comparison(-0.02, 0.04).words(POINTS) == "not shown to differ from lora (+1.0 [-2.0, 4.0])"
    assert comparison(0.02, 0.04, 0.01).words(NATS).endswith("significant, worse)")
    ordered = replace(comparison(-0.02, 0.04), aso=0.25)
    assert ordered.words(POINTS) == "not shown to differ from lora (+1.0 [-2.0, 4.0], ASO 0.25)"


def test_with_one_seed_no_significance_and_no_interval_is_printed():
    assert comparison(-0.01, 0.01, seeds=1).words(POINTS) == "equal to lora"
    each = comparison(0.01, 0.05, 1e-6, seeds=1)
    for text in (each.words(POINTS), each.cell(POINTS)):
        assert "significant" not in text
        assert "*" not in text
        assert "[" not in text


def test_the_sentence_says_the_difference_the_costs_and_what_the_seeds_could_show(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(3):
        for method, right, speed in (("ft", 100, 4.0), ("lora", 140, 5.0), ("sparsegrad", 160, 3.0)):
            write(tmp_path, method, int(right + rng.integers(-2, 3)), seed, steps_per_second=speed)
    made = found_in(tmp_path)
    words = sentence(made)
    assert "3 seeds" in words
    assert "above ft" in words
    assert "above lora" in words
    assert "0.75 of ft's speed" in words
    assert power_words(made).startswith("With 3 seeds a difference of ")
    assert rate_sentences(made) == []


def test_the_sentence_says_over_which_seeds_a_difference_goes_where_one_row_lacks_some(tmp_path):
    for seed in range(3):
        write(tmp_path, "sparsegrad", 160 + seed, seed)
        if seed < 2:
            write(tmp_path, "lora", 140, seed)
    words = sentence(found_in(tmp_path))
    assert "3 seeds" in words
    assert "over the 2 seeds of both" in words


def test_with_one_seed_it_says_what_more_seeds_would_find(tmp_path):
    for method in ("lora", "sparsegrad"):
        write(tmp_path, method, 140)
    made = found_in(tmp_path)
    assert "significant" not in sentence(made)
    assert "3 seeds 12.0, 5 seeds 6.2" in power_words(made)  # RTE's usual spread


def test_conversations_are_compared_by_tokens_and_by_trees_where_they_are_known(tmp_path):
    widths = []
    for place, known in enumerate((False, True)):
        folder = tmp_path / str(place)
        hard = np.repeat(np.random.default_rng(0).normal(0, 0.5, 6), 10)  # six trees of ten sequences
        easy = np.zeros(60)
        for seed in (0, 1):
            for method, losses in (("sparsegrad", hard), ("lora", easy)):
                run = write_chat(folder, method, 2.0, sequences=losses, seed=seed)
                if known:
                    file = run / "predictions.parquet"
                    pd.read_parquet(file).assign(tree=np.repeat(list("abcdef"), 10)).to_parquet(file)
        each = found_in(folder).significance.comparisons[0]
        assert each.difference == pytest.approx(0.0, abs=1e-9)
        widths.append(each.high - each.low)
    assert widths[1] > 1.8 * widths[0]
