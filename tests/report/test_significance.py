"""Which rows of a table are compared, over which seeds and examples, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsegrad_cli.report.build import build_tables
from sparsegrad_cli.report.read import read_runs
from sparsegrad_cli.report.significance import Comparison, Significance, find_significance, read_out
from sparsegrad_cli.report.significance.words import significance_section, significance_sections

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


def found_in(folder: Path) -> Significance:
    runs = read_runs([folder])
    (found,) = find_significance(build_tables(runs), runs)
    assert found
    return found


def only(found: Significance, task: str = "rte") -> Comparison:
    (comparison,) = [each for each in found.comparisons if each.task == task]
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
    assert each.low < 0.06 < each.high
    assert each.p == each.p_holm  # one comparison: nothing to correct


def test_the_scored_split_alone_counts(tmp_path):
    write(tmp_path, "sparsegrad", 150, task="mnli")
    write(tmp_path, "ft", 100, task="mnli")
    each = only(found_in(tmp_path), "mnli")
    assert (each.examples, each.difference) == (SIZE, pytest.approx(0.25))
    assert each.significant


def test_correction_is_over_the_whole_table(tmp_path):
    for method, right in (("sparsegrad", 150), ("lora", 148), ("ft", 60), ("meprop", 151)):
        write(tmp_path, method, right)
    found = found_in(tmp_path)
    p = {each.other: (each.p, each.p_holm) for each in found.comparisons}
    assert p["ft"][1] == pytest.approx(3 * p["ft"][0])
    assert {each.other: each.significant for each in found.comparisons} == {
        "ft": True,
        "lora": False,
        "meprop": False,
    }
    section = significance_section(found)
    assert section.notes == ["1 of 3 differences is significant: sparsegrad is 45.0 points above ft on rte."]
    assert "Holm's correction for the 3 comparisons" in section.caption["cells"]
    _, column = section.grids[0]
    assert [cell[0].split(" [")[0] for cell in column.cells] == ["+45.0*", "+1.0", "-0.5"]


def test_the_average_is_compared_where_both_have_every_task(tmp_path):
    for task, shift in (("rte", 10), ("sst2", 30)):
        write(tmp_path, "sparsegrad", 100 + shift, task=task)
        write(tmp_path, "lora", 100, task=task)
    write(tmp_path, "ft", 100, task="rte")
    write(tmp_path, "lora", 10, task="wnli")
    write(tmp_path, "sparsegrad", 190, task="wnli")
    found = found_in(tmp_path)
    each = only(found, "average")
    assert (each.other, each.difference, each.examples) == ("lora", pytest.approx(0.1), 2 * SIZE)


def test_one_seed_is_said_to_tell_nothing_of_seeds(tmp_path):
    write(tmp_path, "sparsegrad", 150)
    write(tmp_path, "lora", 140)
    assert "nothing about other seeds" in significance_section(found_in(tmp_path)).caption["seeds"]


def test_missing_and_foreign_predictions_are_told(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path, "sparsegrad", 150, seed)
        (write(tmp_path, "ft", 150, seed) / "predictions.parquet").unlink()
    (write(tmp_path, "lora", 140, 0) / "predictions.parquet").write_bytes(b"")
    other = write(tmp_path, "lora", 140, 1) / "predictions.parquet"
    pd.read_parquet(other).assign(idx=lambda rows: rows["idx"] + 1).to_parquet(other)
    write(tmp_path, "lora", 140, 2)
    found = found_in(tmp_path)
    assert only(found).seeds == (2,)
    (note,) = significance_section(found).notes[1:]
    assert note == (
        "Left out, no predictions.parquet: 3 runs of ft; predictions.parquet cannot be read: 1 run of lora; "
        "predictions.parquet of other examples: 1 run of lora."
    )
    assert [each.seed for each in found.left_out if each.row == "lora"] == [0, 1]


def test_without_sparsegrad_or_without_another_method_nothing_is_compared(tmp_path):
    for folder, methods in (("a", ["ft", "lora"]), ("b", ["sparsegrad"])):
        for method in methods:
            write(tmp_path / folder, method, 150)
        runs = read_runs([tmp_path / folder])
        assert significance_sections(build_tables(runs), runs) == []


def test_the_same_runs_give_the_same_numbers(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path, "sparsegrad", 150 + seed, seed)
        write(tmp_path, "lora", 140, seed)
    assert found_in(tmp_path) == found_in(tmp_path)


def test_the_reading_calls_differences_significant_or_not(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(6):
        for method, right in (("sparsegrad", 150), ("lora", 60), ("ft", 150)):
            write(tmp_path, method, int(right + rng.integers(-3, 4)), seed)
    runs = read_runs([tmp_path])
    (table,) = build_tables(runs)
    (text,) = read_out(table, *find_significance([table], runs)).reading
    assert "above lora (significant)" in text
    assert "ft (not significant)" in text
    assert "spread" not in text
