"""The report in the terminal and as files: whole, escaped, and short where it must be."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report import Report, build_report
from sparsegrad_cli.report.render import FORMATS, escape, read_formats, to_csv, to_markdown

from .chats import write_chat, write_judgement
from .documents import hard_chapters
from .runs import write_run
from .test_significance import write

NINE = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]
HOSTILE = "=HYPERLINK(1)[bold]|<img src=x>_*a*_`b`[c](d)"


@pytest.fixture(scope="module")
def nine_tasks(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Every task, every method, two seeds."""
    folder = tmp_path_factory.mktemp("nine")
    for method in ("ft", "lora", "meprop", "sparsegrad"):
        for task in NINE:
            for seed in range(2):
                write_run(folder, method, 0.80 + seed / 100, task=task, seed=seed)
    return build_report([folder])


def shown(report: Report, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.print(console)
    return console.file.getvalue()


def brief(report: Report, verbose: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    report.print_brief(console, Path("results"), verbose)
    return console.file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [80, 140])
def test_nine_tasks_fit_the_terminal_whole(nine_tasks, width):
    text = shown(nine_tasks, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for task in NINE:
        assert re.search(rf"\b{task}\b", text)


def test_the_end_of_a_command_fits_twenty_lines_of_a_hundred_columns(tmp_path, nine_tasks):
    for method in ("ft", "lora", "meprop", "sparsegrad"):
        for seed in (0, 1):
            write(tmp_path, method, 140 + seed, seed)
            if method == "sparsegrad":
                write(tmp_path, method, 141 + seed, seed, density=0.05)
    for report in (build_report([tmp_path]), nine_tasks):
        lines = brief(report)
        assert len(lines) <= 20, "\n".join(lines)
        assert max(map(len, lines)) <= 100
        assert any(line.startswith("sparsegrad ") for line in lines)
        text = "\n".join(lines)
        for words in (
            f"{report.groups[0].group.title}\n",
            "2 seeds",
            "x86_64, 2 threads",
            "Written to results",
        ):
            assert words in text


def test_the_end_of_a_command_says_all_when_asked(nine_tasks):
    text = "\n".join(brief(nine_tasks, verbose=True))
    assert len(text.splitlines()) > 20
    for words in (*NINE, "in MLPs,", "learning rate", "3397e30"):
        assert words in text


def test_with_one_seed_the_end_of_a_command_says_nothing_is_significant(tmp_path):
    for method in ("lora", "sparsegrad"):
        write(tmp_path, method, 140)
    text = "\n".join(brief(build_report([tmp_path])))
    assert "significant" not in text
    assert "One seed" in text


def test_a_user_text_is_shown_as_it_is_in_every_format(tmp_path):
    model = HOSTILE.replace("/", "")
    for method in ("lora", "sparsegrad"):
        write(tmp_path, method, 140, model=model, origin=HOSTILE, hyperparameters_from="@SUM(1)")
    run = write_chat(tmp_path, "lora", 2.0, model=model)
    write_judgement(tmp_path, run, 6.0, judge_model=HOSTILE)
    report = build_report([tmp_path])
    assert f"{model} on rte" in shown(report, 400)
    assert HOSTILE in shown(report, 400)
    written = {path.suffix: path for path in report.write(tmp_path / "out", list(FORMATS))}
    markdown = written[".md"].read_text(encoding="utf-8")
    assert "<img" not in markdown
    assert r"[c]\(d)" not in markdown
    assert r"\](d)" in markdown
    page = written[".html"].read_text(encoding="utf-8")
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page
    numbers = pd.read_csv(written[".csv"])
    assert set(numbers["model"]) == {f"'{model}"}
    assert set(numbers["hyperparameters_from"].dropna()) == {"'@SUM(1)", "options"}


def test_numbers_that_are_negative_stay_numbers_in_csv():
    assert to_csv(pd.DataFrame({"a": [-0.5], "b": ["-0.5"], "c": ["x"]})) == "a,b,c\n-0.5,'-0.5,x\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<b> & &lt;", "&lt;b> & &amp;lt;"),
        ("basis_rank and _this_", r"basis_rank and \_this\_"),
        ("[-4.7, 3.2]", "[-4.7, 3.2]"),
        ("[x](y) ![z](w)", r"[x\](y) ![z\](w)"),
        ("# heading", r"\# heading"),
        ("1. list", r"1\. list"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text, expected):
    assert escape(text) == expected


def test_markdown_tables_have_as_many_cells_in_every_line(tmp_path):
    lines = to_markdown(hard_chapters(tmp_path), ["note"], tmp_path).splitlines()
    tables = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    for table in filter(None, (part.strip("\n") for part in tables)):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.split("\n")}) == 1


def test_a_report_of_nothing_done_can_be_shown_and_written(tmp_path):
    write_run(tmp_path, status="failed")
    report = build_report([tmp_path])
    assert "No finished run" in shown(report)
    written = report.write(tmp_path, list(FORMATS))
    assert [path.name for path in written] == ["report.md", "report.tex", "report.html", "report.csv"]
    for path in written[:3]:
        assert "No finished run" in path.read_text(encoding="utf-8")
    assert pd.read_csv(written[3]).empty


def test_writing_replaces_the_old_report_and_leaves_nothing_else(nine_tasks, tmp_path):
    folder = tmp_path / "new"
    old = [
        folder / "report.md",
        folder / "report.csv",
        folder / "figures" / "demo-on-9-tasks-paper-protocol-costs.png",
    ]
    old[-1].parent.mkdir(parents=True)
    for path in old:
        path.write_text("old")
    written = nine_tasks.write(folder)
    assert set(old) <= set(written)
    assert not [path for path in old if path.read_bytes() == b"old"]
    assert written[:2] == [folder / "report.md", folder / "report.csv"]
    assert sorted(path.name for path in folder.iterdir()) == ["figures", "report.csv", "report.md"]
    assert sorted(written[2:]) == sorted((folder / "figures").iterdir())
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# The answer")
    assert len(text.splitlines()) <= 350


def test_json_is_whole_and_strict(tmp_path):
    for method in ("lora", "sparsegrad"):
        write(tmp_path, method, 140)
    document = json.loads(json.dumps(build_report([tmp_path]).to_json(), allow_nan=False))
    (table,) = document["tables"]
    assert [row["method"] for row in table["rows"]] == ["lora", "sparsegrad"]
    assert table["rows"][0]["scores"]["rte"]["accuracy"]["mean"] == pytest.approx(0.7)
    (compared,) = table["comparisons"]
    assert (compared["subject"], compared["verdict"]) == ("sparsegrad", "one seed")


def test_the_checklist_is_filled_from_the_folders_and_names_what_is_missing(tmp_path):
    for seed in (0, 1):
        for method in ("lora", "sparsegrad"):
            for rate in (1e-4, 1e-3):
                write(tmp_path, method, 140 + seed, seed, learning_rate=rate)
    text = build_report([tmp_path]).checklist()
    for words in ("learning rate 0.0001, 0.001 by a grid", "2 in a grid", "x86_64", "3397e30", "Student"):
        assert words in text
    assert re.search(r"validation performance \| MISSING", text)
    assert "Missing: " in text


def test_an_unknown_format_is_bad_input():
    assert read_formats(["md,latex", "md"]) == ("md", "latex")
    with pytest.raises(InputError, match="--format: no format 'pdf'"):
        read_formats(["pdf"])
