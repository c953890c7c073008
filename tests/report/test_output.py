"""The report in the terminal and as files."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from sparsegrad_cli.report import Report, build_report
from sparsegrad_cli.report.formats.files import FORMATS
from sparsegrad_cli.report.formats.markdown import to_markdown

from .runs import write_run

NINE = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]


@pytest.fixture(scope="module")
def nine_tasks(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Every task, every method, three seeds; QQP partial, and WNLI collapsed."""
    folder = tmp_path_factory.mktemp("nine")
    for method in ("ft", "lora", "meprop", "sparsegrad"):
        for task in NINE:
            for seed in range(3):
                write_run(
                    folder,
                    method,
                    0.80 + seed / 100,
                    task=task,
                    seed=seed,
                    completeness="partial" if task == "qqp" else "complete",
                    single_class=task == "wnli",
                )
    return build_report([folder])


def shown(report: Report, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.print(console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_nine_tasks_fit_the_terminal_whole(nine_tasks, width):
    text = shown(nine_tasks, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for task in NINE:
        assert re.search(rf"^method .*\b{task}\b", text, re.MULTILINE)


def test_one_task_is_a_single_table_on_80_columns(tmp_path):
    for method in ("ft", "lora", "meprop", "sparsegrad"):
        for seed in (0, 1):
            write_run(tmp_path, method, 0.4 + seed / 50, seed=seed, completeness="synthetic", origin="demo")
    text = shown(build_report([tmp_path]), 80)
    (row,) = re.findall(r"^sparsegrad .*", text, re.MULTILINE)
    assert " ".join(row.split()) == "sparsegrad 41.0 ± 1.4 4.00 900 15.7M 70.8k (1.0%) 580k (8.2%) 770"
    assert max(map(len, text.splitlines())) <= 80
    assert "SYNTHETIC" in text.splitlines()[0]


def test_heads_name_the_metric_and_what_the_data_is(nine_tasks):
    markdown_head = next(line for line in markdown_of(nine_tasks) if line.startswith("| method"))
    assert markdown_head == (
        "| method | cola<br>Matthews | sst2<br>accuracy | mrpc<br>accuracy / F1 | stsb<br>Pearson / Spearman "
        "| qqp<br>accuracy / F1<br>partial | mnli<br>accuracy m / accuracy mm | qnli<br>accuracy "
        "| rte<br>accuracy | wnli<br>accuracy<br>majority 56.3 | average |"
    )


def markdown_of(report: Report) -> list[str]:
    return to_markdown(report.document(), Path()).splitlines()


def test_markdown_rows(nine_tasks):
    row = next(line for line in markdown_of(nine_tasks) if line.startswith("| ft"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["ft", "81.0 ± 1.0"]
    assert cells[3] == "81.0 ± 1.0 / 81.0 ± 1.0"
    assert cells[9] == "81.0 ± 1.0†"
    assert cells[10] == "81.0 ± 1.0"
    assert "† a run gave every example the same label" in "\n".join(markdown_of(nine_tasks))


def test_missing_cells_are_dashes_and_uneven_seeds_are_counted_in_the_cells(tmp_path):
    write_run(tmp_path, "ft", 0.5)
    write_run(tmp_path, "ft", 0.6, seed=1)
    write_run(tmp_path, "lora", 0.7, task="rte")
    rows = [line for line in markdown_of(build_report([tmp_path])) if line.startswith(("| ft", "| lora"))]
    assert rows[:2] == ["| ft | 55.0 ± 7.1 (2) | – | – |", "| lora | – | 70.0 (1) | – |"]


def test_a_model_named_with_markup_is_shown_as_it_is(tmp_path):
    write_run(tmp_path, model="models/[bold]a|b")
    report = build_report([tmp_path])
    assert "models/[bold]a|b on cola" in shown(report)
    assert r"## models/[bold]a\|b on cola, paper protocol" in markdown_of(report)


def test_runs_that_are_left_out_are_told_everywhere(tmp_path):
    write_run(tmp_path)
    write_run(tmp_path, seed=1, status="diverged")
    write_run(tmp_path, seed=2, status="interrupted")
    write_run(tmp_path, seed=3, status="interrupted")
    report = build_report([tmp_path])
    line = "left out: 2 interrupted, 1 diverged"
    assert line in shown(report)
    assert line in markdown_of(report)


def test_a_report_of_nothing_done_can_be_shown_and_written(tmp_path):
    write_run(tmp_path, status="failed")
    report = build_report([tmp_path])
    assert "No finished run" in shown(report)
    written = report.write(tmp_path, FORMATS)
    assert [path.name for path in written] == ["report.md", "report.tex", "report.html", "report.csv"]
    for path in written[:3]:
        assert "No finished run" in path.read_text(encoding="utf-8")
    assert pd.read_csv(written[3]).empty


def test_csv_has_a_line_for_each_cell_and_metric(nine_tasks, tmp_path):
    (path,) = nine_tasks.write(tmp_path, ["csv"])
    lines = pd.read_csv(path)
    cells = lines[lines["task"] != "all"]
    assert len(cells) == 4 * (9 + 4)
    assert cells.duplicated(["method", "settings", "task", "metric"]).sum() == 0
    line = cells[
        (cells["method"] == "lora") & (cells["task"] == "stsb") & (cells["metric"] == "spearman")
    ].iloc[0]
    assert (line["n"], line["seeds"], line["main"], line["batch_size"]) == (3, "0 1 2", False, 16)
    assert line["mean"] == pytest.approx(0.81)
    assert line["std"] == pytest.approx(0.01)
    of_row = lines[(lines["method"] == "lora") & (lines["task"] == "all")].set_index("metric")["mean"]
    assert of_row["average"] == pytest.approx(0.81)
    assert of_row["peak_memory_bytes"] == 900_000_000


def test_writing_replaces_the_old_report_and_leaves_nothing_else(nine_tasks, tmp_path):
    folder = tmp_path / "new"
    nine_tasks.write(folder)
    (folder / "report.md").write_text("old")
    written = nine_tasks.write(folder)
    assert written[:2] == [folder / "report.md", folder / "report.csv"]
    assert sorted(path.name for path in folder.iterdir()) == ["figures", "report.csv", "report.md"]
    assert sorted(written[2:]) == sorted((folder / "figures").iterdir())
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("# Results")


def test_json_is_whole_and_strict(nine_tasks):
    text = json.dumps(nine_tasks.to_json(), allow_nan=False)
    table = json.loads(text)["tables"][0]
    assert [row["method"] for row in table["rows"]] == ["ft", "lora", "meprop", "sparsegrad"]
    assert table["rows"][0]["cells"][2]["scores"]["f1"]["mean"] == pytest.approx(0.81)
    assert table["caption"]["protocol"].startswith("paper")
