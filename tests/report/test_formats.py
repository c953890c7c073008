"""`sparsegrad report`: one document in the formats that are asked for, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.formats.files import FORMATS, read_formats

from .runs import write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for method in ("ft", "lora", "sparsegrad"):
        for seed in (0, 1):
            write_run(
                folder, method, 0.6 + seed / 50, seed=seed, model="roberta-base", peak_memory_bytes=10**9
            )
    return folder


def test_every_format_has_the_tables_the_figures_and_the_paper(call, results, tmp_path):
    out = tmp_path / "out"
    formats = ["--format", "md,latex", "--format", "html,csv"]
    code, printed, err = call("report", str(results), "--output", str(out), "--compare", "paper", *formats)
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("figures", "report.csv", "report.html", "report.md", "report.tex")
    ]
    assert "report.md" in err
    assert re.search(r"and \d+ figures", err)
    figures = [path.name for path in (out / "figures").iterdir()]
    texts = {name: (out / name).read_text(encoding="utf-8") for name in ("report.md", "report.tex")}
    for text in texts.values():
        assert figures
        assert all(f"figures/{name}" in text for name in figures)
        for title in ("roberta-base on cola, paper protocol", "Paper, table 10", "Paper, table 1:"):
            assert title in text
    assert (out / "report.html").read_text(encoding="utf-8").count("data:image/png") == len(figures)
    assert "Paper, table 10" in printed
    assert "Paper, table 9:" not in printed  # nothing of ours is in it
    assert re.search(r"nothing of ours yet beside the paper's tables 1, .*\b9\b", " ".join(printed.split()))


def test_the_difference_to_the_paper_is_in_the_json(call, results):
    code, printed, _ = call("report", str(results), "--compare", "paper", "--json", "--format", "csv")
    document = json.loads(printed)
    assert code == 0
    assert document["files"] == [str(results / "report.csv")]
    numbers = [table["number"] for table in document["comparison"]]
    assert sorted(set(numbers)) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert len(document["significance"]) == len(document["tables"]) == 1


def test_without_compare_the_paper_is_left_alone(call, results):
    _, printed, _ = call("report", str(results))
    assert "Paper, table" not in printed
    assert build_report([results]).to_json()["comparison"] == []
    assert sorted(path.name for path in results.glob("report.*")) == ["report.csv", "report.md"]


def test_formats_are_a_list_with_commas_or_repeated_each_once():
    assert read_formats(["html,md", "md", " csv "]) == ("html", "md", "csv")
    with pytest.raises(InputError, match=r"--format: no format 'pdf', there are md, latex, html, csv"):
        read_formats(["md,pdf"])


@pytest.mark.parametrize("wrong", [["--format", "pdf"], ["--format", ""], ["--compare", "lora"]])
def test_what_there_is_not_is_refused_before_anything_is_written(call, results, wrong):
    code, _, err = call("report", str(results), *wrong)
    assert code == 2
    assert wrong[0] in err
    assert len(err.splitlines()) == 1
    assert not list(results.glob("report.*"))


def test_csv_alone_draws_no_figures(results):
    assert build_report([results]).write(results, ["csv"]) == [results / "report.csv"]
    assert not (results / "figures").exists()


def test_a_folder_that_is_none_is_one_line_and_code_1(call, results, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call("report", str(results), "--output", str(tmp_path / "file"), "--quiet")
    assert code == 1
    assert err.startswith(f"sparsegrad: cannot write to {tmp_path / 'file'}: ")
    assert err.strip().endswith("see --output")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_the_old_report_whole(results, tmp_path, monkeypatch, name):
    path = tmp_path / FORMATS[name].file
    path.write_text("old")
    report = build_report([results])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match="No space left on device; see --output"):
        report.write(tmp_path, [name])
    assert path.read_text() == "old"
    assert not [found for found in tmp_path.rglob(".*") if found.is_file()]
