"""The paper's tables beside ours: which runs stand there, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.paper import GLUE
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.compare import compare_tables
from sparsegrad_cli.report.compare.table import ComparedTable
from sparsegrad_cli.report.compare.words import compared_section
from sparsegrad_cli.sweep.folder import write_sweep

from ..sweep.fabricate import ENVIRONMENT, make_config, make_sweep, make_trial
from .runs import write_run
from .test_bench import make_bench

MODEL = "FacebookAI/roberta-base"
PAIRED = ("mrpc", "stsb", "qqp", "mnli")  # tasks with two metrics


def tables(folder: Path, number: int) -> list[ComparedTable]:
    return [table for table in build_report([folder], compare=True).comparison if table.number == number]


def lines(table: ComparedTable, grid: int = 0) -> dict[str, list[list[str]]]:
    """Label of each row of ours -> its texts, the paper's, the difference."""
    labels, *parts = compared_section(table).grids[grid]
    found: dict[str, list[list[str]]] = {}
    for place, (label, joined) in enumerate(zip(labels.cells, labels.joined, strict=True)):
        if not joined:
            last = found[" ".join(label)] = []
        last.append([part.cells[place][0] for part in parts])
    return found


def texts(table: ComparedTable, label: str, column: str) -> list[str]:
    heads = [each.head for each in table.grids[0].columns]
    return [of_row[heads.index(column)] for of_row in lines(table)[label]]


def write(folder: Path, method: str, task: str, score: float, **how: object) -> None:
    both = (score, score - 0.3) if task in PAIRED else score
    write_run(folder, method, both, task=task, **{"model": MODEL, **how})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of sparsegrad on every task, one of lora on all but rte."""
    folder = tmp_path_factory.mktemp("whole")
    for task in (*GLUE, "wnli"):
        for seed in (0, 1):
            write(folder, "sparsegrad", task, 0.85 + seed / 100, seed=seed)
        if task != "rte":
            write(folder, "lora", task, 0.8)
    return folder


def test_ours_the_papers_and_the_difference_stand_below_one_another(whole):
    (table,) = tables(whole, 10)
    assert texts(table, "sparsegrad", "mrpc") == ["85.5 ± 0.7 (2)", "89.6 ± 1.1", "-4.1"]
    assert texts(table, "sparsegrad", "qnli") == ["85.5 ± 0.7 (2)", "91.5?", "-6.0"]
    assert texts(table, "lora", "rte") == ["–", "63.1 ± 2.0", "–"]
    assert texts(table, "ft", "rte") == ["–", "68.8 ± 2.0"]
    assert "damaged copy" in compared_section(table).caption["legend"]
    assert table.caption["checkpoint"].startswith(MODEL)


def test_the_average_is_of_the_papers_eight_tasks_or_none(whole):
    (table,) = tables(whole, 10)
    assert texts(table, "sparsegrad", "average") == ["85.5 ± 0.7 (2)", "83.6", "+1.9"]
    assert texts(table, "lora", "average") == ["–", "83.1", "–"]
    (averages,) = tables(whole, 5)
    assert [column.notes for column in averages.grids[0].columns] == [(), (MODEL, "cpu", "fp32")]
    assert lines(averages)["sparsegrad"] == [["–", "85.5 ± 0.7"], ["82.6", "83.6"], ["–", "+1.9"]]


def test_columns_name_the_papers_metric(whole):
    (table,) = tables(whole, 10)
    metrics = {column.head: column.metric for column in table.grids[0].columns}
    assert (metrics["cola"], metrics["stsb"], metrics["mnli"]) == ("Matthews", "Pearson", "accuracy m")


OTHERS = {
    "freeze-rest": ("ft", {"freeze_rest": True}),
    "heldout protocol": ("ft", {"protocol": "heldout"}),
    "lora rank 16": ("lora", {"rank": 16}),
    "sparsegrad support block": ("sparsegrad", {"support": "block", "form": None}),
    "sparsegrad keeping 5%": ("sparsegrad", {"density": 0.05}),
    "meprop keeping 2.12%": ("meprop", {"density": None, "kept": 50_000}),
    "sparsegrad with a sparse-learning-rate": ("sparsegrad", {"sparse_learning_rate": 1e-3}),
    "sparsegrad basis-rank 256": ("sparsegrad", {"basis_rank": 256}),
    "data that is not GLUE's": ("ft", {"completeness": "synthetic"}),
    "scored by f1": ("ft", {"metrics": {"f1": 0.5}}),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_the_paper_did_not_run_never_stands_beside_it(tmp_path, reason):
    method, how = OTHERS[reason]
    write_run(tmp_path, method, task="cola", model=MODEL, **how)
    (table,) = tables(tmp_path, 10)
    assert compared_section(table).nothing_of_ours
    assert table.notes[1] == f"Runs of this model in another setting, not shown: 1 {reason}."


@pytest.mark.parametrize("kept", [{"density": 0.01}, {"kept": 28_000}, {"kept": 22_000}])
def test_one_percent_is_what_the_paper_calls_so(tmp_path, kept):
    write(tmp_path, "sparsegrad", "cola", 0.6, **{"density": None, **kept})
    (table,) = tables(tmp_path, 10)
    assert table.grids[0].runs


def test_other_models_stand_nowhere(tmp_path):
    write(tmp_path, "ft", "cola", 0.5, model="demo")
    report = build_report([tmp_path], compare=True)
    assert all(compared_section(table).nothing_of_ours for table in report.comparison)
    assert [table.number for table in report.comparison] == [1, *range(3, 16)]


def test_groups_that_may_not_be_mixed_have_tables_of_their_own(tmp_path):
    write(tmp_path, "ft", "cola", 0.5)
    write(tmp_path, "ft", "cola", 0.6, precision="bf16", device="cuda")
    write(tmp_path, "ft", "cola", 0.7, checkpoint="sha256:" + "cd" * 32, model_revision="cd")
    found = tables(tmp_path, 10)
    assert [texts(table, "ft", "cola")[0] for table in found] == ["50.0", "60.0", "70.0"]
    assert [column.head for column in tables(tmp_path, 5)[0].grids[0].columns].count("roberta-base") == 3


def test_shorter_training_is_told_and_not_averaged_with_the_whole(tmp_path):
    write(tmp_path, "ft", "cola", 0.5)
    write(tmp_path, "ft", "cola", 0.1, epochs=3.0)
    (table,) = tables(tmp_path, 10)
    assert {"ft epochs 20", "ft epochs 3"} <= set(lines(table))
    assert table.notes[0].startswith("1 of 2 runs of ours are shorter than the paper's, which have 20 epochs")


def test_kept_entries_find_their_row(tmp_path):
    for how in ({"kept": 18_000}, {"density": 0.012}, {"density": 1.0}, {"kept": 50_000}):
        write(tmp_path, "sparsegrad", "cola", 0.6, **{"density": None, **how})
    write(tmp_path, "ft", "cola", 0.1)
    (table,) = tables(tmp_path, 12)
    assert texts(table, "18,000 (0.8%)", "cola") == ["60.0", "59.7", "+0.3"]
    assert texts(table, "30,000 (1.2%) density 0.012", "cola") == ["60.0", "59.4", "+0.6"]
    assert texts(table, "all (100%)", "cola") == ["60.0", "60.0", "+0.0"]
    assert texts(table, "22,000 (1%)", "cola") == ["–", "58.8"]


def test_speeds_of_another_machine_are_compared_over_fts(tmp_path):
    make_bench(tmp_path)
    (table,) = tables(tmp_path, 3)
    assert lines(table)["lora"] == [
        ["0.50", "0.50", "2,100", "1.05"],
        ["4.70", "1.14", "944", "0.70"],
        ["–", "-0.64", "–", "+0.35"],
    ]
    assert len(lines(table)["sparsegrad streamed"]) == 1
    assert all(compared_section(by_task).nothing_of_ours for by_task in tables(tmp_path, 7))


def test_speeds_by_task_have_a_mean_where_all_tasks_were_measured(tmp_path):
    for task in GLUE[:-1]:
        make_bench(tmp_path, task=task, data="hub")
    assert lines(tables(tmp_path, 7)[0])["ft"][0] == ["1.00"] * 7 + ["–"] * 2
    make_bench(tmp_path, task=GLUE[-1], data="hub")
    assert lines(tables(tmp_path, 7)[0])["lora"][0] == ["0.50"] * 9
    assert lines(tables(tmp_path, 8)[0], grid=1)["lora"][0] == ["1.05"] * 9
    (table,) = tables(tmp_path, 3)
    assert lines(table)["ft"][0] == ["1.00", "1.00", "2,000", "1.00"]


@pytest.mark.parametrize(
    "how", [{"layers": 2}, {"freeze_rest": True}, {"basis_rank": 256}, {"data": "demo", "task": "cola"}]
)
def test_cut_frozen_truncated_or_synthetic_benchmarks_are_left_out(tmp_path, how):
    make_bench(tmp_path, **how)
    for number in (3, 7, 8):
        assert compared_section(tables(tmp_path, number)[0]).nothing_of_ours


def test_sweeps_stand_beside_the_best_rates_as_ratios(tmp_path):
    trial = make_trial(0, 0.7, rate=6.1e-5, batch=16)
    for method, how in (("lora", {}), ("ft", {}), ("ft", {"freeze_rest": True, "seed": 3})):
        write_sweep(tmp_path, make_sweep(make_config(method, model=MODEL, **how), trial), ENVIRONMENT)
    (table,) = tables(tmp_path, 14)
    assert set(lines(table)) == {"ft", "lora"}
    assert texts(table, "lora", "rte") == ["6.10e-05", "3.05e-05", "× 2"]
    assert texts(table, "lora", "cola") == ["–", "1.01e-05", "–"]
    assert [row[-1] for row in lines(table, grid=1)["ft"]] == ["16", "32", "× 0.5"]
    assert lines(tables(tmp_path, 13)[0])["paper, all methods"][0][-1] == "6.81e-05"


def test_nothing_at_all_gives_the_papers_tables(tmp_path):
    import pandas as pd

    none = pd.DataFrame(columns=["status"])
    sections = [compared_section(table) for table in compare_tables(none, (), (), (), none, ())]
    assert len(sections) == 14
    assert all(section.nothing_of_ours for section in sections)
