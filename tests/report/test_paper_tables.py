"""The paper's tables beside ours: which runs stand there, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.paper import GLUE
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.table import Section

from ..sweep.fabricate import ENVIRONMENT, make_config, make_sweep, make_trial, write_sweep
from .benches import make_bench
from .chats import write_chat
from .runs import write_run

MODEL = "FacebookAI/roberta-base"
PAIRED = ("mrpc", "stsb", "qqp", "mnli")  # tasks with two metrics
NUMBERS = [1, *range(3, 16)]


def sections(folder: Path, number: int) -> list[Section]:
    found = build_report([folder], compare=True).paper[0]
    return [section for section in found if section.title.startswith(f"Paper, table {number}:")]


def texts(section: Section, label: str, head: str, table: int = 0) -> list[str]:
    """Of a row of ours: its text, the paper's, the difference."""
    drawn = section.tables[table]
    (column,) = [c for c in drawn.columns if c.head.replace("\n", " ").startswith(head)]
    start = list(drawn.columns[0].cells).index(label)
    found = [column.cells[start]]
    for row in range(start + 1, len(column.cells)):
        if not drawn.is_joined(row):
            break
        found.append(column.cells[row])
    return found


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
    (table,) = sections(whole, 10)
    assert texts(table, "sparsegrad", "mrpc") == ["85.5 ± 0.7 (2)", "89.6 ± 1.1", "-4.1"]
    assert texts(table, "sparsegrad", "qnli") == ["85.5 ± 0.7 (2)", "91.5?", "-6.0"]
    assert texts(table, "lora", "rte") == ["–", "63.1 ± 2.0", "–"]
    assert texts(table, "paper, ft", "rte") == ["68.8 ± 2.0"]
    assert "lora -" in table.sentence


def test_the_average_is_of_the_papers_eight_tasks_or_none(whole):
    (table,) = sections(whole, 10)
    assert texts(table, "sparsegrad", "average") == ["85.5 ± 0.7 (2)", "83.6", "+1.9"]
    assert texts(table, "lora", "average")[0] == "–"
    (averages,) = sections(whole, 5)
    assert texts(averages, "sparsegrad", "roberta-base") == ["85.5 ± 0.7", "83.6", "+1.9"]


OTHERS = {
    "ft freeze-rest": ("ft", {"freeze_rest": True}),
    "heldout protocol": ("ft", {"protocol": "heldout"}),
    "lora rank 16": ("lora", {"rank": 16}),
    "sparsegrad keeping 5%": ("sparsegrad", {"density": 0.05}),
    "meprop keeping 2.12%": ("meprop", {"density": None, "kept": 50_000}),
    "sparsegrad sparse-learning-rate 0.001": ("sparsegrad", {"sparse_learning_rate": 1e-3}),
    "sparsegrad basis-rank 256": ("sparsegrad", {"basis_rank": 256}),
    "data that is not GLUE's": ("ft", {"completeness": "synthetic"}),
    "scored by f1": ("ft", {"metrics": {"f1": 0.5}}),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_the_paper_did_not_run_never_stands_beside_it(tmp_path, reason):
    method, how = OTHERS[reason]
    write_run(tmp_path, method, task="cola", model=MODEL, **how)
    assert sections(tmp_path, 10) == []
    write_run(tmp_path, "ft", task="rte", model=MODEL)
    (table,) = sections(tmp_path, 10)
    assert f"1 {reason}" in table.notes[0]


@pytest.mark.parametrize("kept", [{"density": 0.01}, {"kept": 28_000}, {"kept": 22_000}])
def test_one_percent_is_what_the_paper_calls_so(tmp_path, kept):
    write(tmp_path, "sparsegrad", "cola", 0.6, **{"density": None, **kept})
    assert len(sections(tmp_path, 10)) == 1


def test_tables_without_anything_of_ours_are_one_line(tmp_path):
    write(tmp_path, "ft", "cola", 0.5, model="demo")
    report = build_report([tmp_path], compare=True)
    assert report.paper == ([], NUMBERS)
    (note,) = [note for note in report.notes if "Nothing of ours" in note]
    assert all(str(number) in note for number in NUMBERS)


def test_groups_that_may_not_be_mixed_have_tables_of_their_own(tmp_path):
    write(tmp_path, "ft", "cola", 0.5)
    write(tmp_path, "ft", "cola", 0.6, precision="bf16", device="cuda")
    write(tmp_path, "ft", "cola", 0.7, checkpoint="sha256:" + "cd" * 32, model_revision="cd")
    write(tmp_path, "ft", "cola", 0.1, epochs=3.0)
    found = sections(tmp_path, 10)
    assert sorted(texts(table, "ft", "cola")[0] for table in found) == ["10.0", "50.0", "60.0", "70.0"]
    assert sum("shorter than the paper's" in " ".join(table.notes) for table in found) == 1


def test_kept_entries_find_their_row(tmp_path):
    for how in ({"kept": 18_000}, {"density": 0.012}, {"density": 1.0}, {"kept": 50_000}):
        write(tmp_path, "sparsegrad", "cola", 0.6, **{"density": None, **how})
    write(tmp_path, "ft", "cola", 0.1)
    (table,) = sections(tmp_path, 12)
    rows = [cells[0] for cells in table.tables[0].rows]
    assert [row.split(" (density")[0] for row in rows if row.startswith("30,000")] == ["30,000 (1.2%)"]
    (kept,) = [row for row in rows if row.startswith("18,000 (0.8%)")]
    assert texts(table, kept, "cola") == ["60.0", "59.7", "+0.3"]
    assert "paper, 22,000 (1%)" in rows


def test_speeds_of_another_machine_are_compared_over_fts(tmp_path):
    make_bench(tmp_path)
    (table,) = sections(tmp_path, 3)
    assert texts(table, "lora", "steps/s") == ["0.50", "4.70"]
    assert texts(table, "lora", "steps per second vs ft", 1) == ["0.50", "1.14", "-0.64"]
    assert texts(table, "lora", "peak memory vs ft", 1) == ["1.05", "0.70", "+0.35"]
    assert texts(table, "sparsegrad backward", "steps/s") == ["0.33"]
    assert sections(tmp_path, 7) == []


def test_speeds_by_task_have_a_mean_where_all_tasks_were_measured(tmp_path):
    for task in GLUE[:-1]:
        make_bench(tmp_path, task=task, data="hub")
    assert "average" not in [column.head for column in sections(tmp_path, 7)[0].tables[0].columns]
    make_bench(tmp_path, task=GLUE[-1], data="hub")
    assert texts(sections(tmp_path, 7)[0], "lora", "average")[0] == "0.50"
    assert texts(sections(tmp_path, 8)[0], "lora", "avg vs ft", 1)[0] == "1.05"
    assert texts(sections(tmp_path, 3)[0], "ft", "steps/s")[0] == "1.00"


def test_costs_stand_padded_as_the_papers_and_as_they_were_measured_otherwise(tmp_path):
    for task in GLUE:
        for padded in (True, False):
            make_bench(tmp_path, task=task, data="hub", padding="max" if padded else "longest")
    for number, heads in ((3, ["steps/s", "peak\nMB"]), (7, [*GLUE, "average"]), (8, [*GLUE, "average"])):
        (section,) = sections(tmp_path, number)
        for table in section.tables:
            notes = [column.note for column in table.columns[1:]]
            assert notes == ["padded", "padded to the longest"] * len(heads)
        assert [column.head for column in section.tables[0].columns[1::2]] == heads


@pytest.mark.parametrize(
    "how", [{"layers": 2}, {"freeze_rest": True}, {"basis_rank": 256}, {"data": "demo", "task": "cola"}]
)
def test_cut_frozen_truncated_or_synthetic_benchmarks_are_left_out(tmp_path, how):
    make_bench(tmp_path, **how)
    assert build_report([tmp_path], compare=True).paper[0] == []


def test_sweeps_stand_beside_the_best_rates_as_ratios(tmp_path):
    trial = make_trial(0, 0.7, rate=6.1e-5, batch=16)
    for method, how in (("lora", {}), ("ft", {"freeze_rest": True, "seed": 3})):
        write_sweep(tmp_path, make_sweep(make_config(method, model=MODEL, **how), trial), ENVIRONMENT)
    (table,) = sections(tmp_path, 14)
    assert texts(table, "all methods (lora)", "rte") == ["6.10e-05", "3.05e-05", "× 2"]
    assert texts(table, "all methods (lora)", "rte", 1) == ["16", "32", "× 0.5"]


def test_conversations_of_the_papers_model_stand_beside_table_6(tmp_path):
    how = {"model": "meta-llama/Llama-2-7b-hf", "completeness": "complete", "loss_on": "all"}
    write_chat(tmp_path, "lora", 1.3, **how)
    write_chat(tmp_path, "sparsegrad", 1.3, blocks="all", **how)
    (table,) = sections(tmp_path, 6)
    assert texts(table, "lora", "validation") == ["1.300", "1.249 ± 0.05", "+0.051"]
    assert "1 sparsegrad blocks all" in table.notes[0]
