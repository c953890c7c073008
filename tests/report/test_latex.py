"""LaTeX: every character is escaped, and what comes out compiles and fits the page."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from sparsegrad_cli.report.render.latex import latex, running, to_latex

from .documents import hard_chapters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% of $1 & #2_a {b}", r"50\% of \$1 \& \#2\_a \{b\}"),
        ("a~b^c\\d", r"a\textasciitilde{}b\textasciicircum{}c\textbackslash{}d"),
        ("81.0 ± 1.2† (3)", r"81.0 \textpm{} 1.2\textdagger{} (3)"),
        ("16 × 128", r"16 \texttimes{} 128"),
        ("–", "--"),
        ("--output a-b", r"-{}-output a-b"),
        ("lr 1e-05, -0.3 in [-1, 2]", r"lr 1e-05, \textminus{}0.3 in {[}\textminus{}1, 2]"),
        ("5.8?", "5.8?"),
        ("10⁶ and 10^6", r"10\textsuperscript{6} and 10\textasciicircum{}6"),
        ("über 中", "über {[}U+4E2D]"),
        ("two\nlines", "two lines"),
    ],
)
def test_texts_say_in_latex_what_they_say(text, expected):
    assert latex(text) == expected


def test_every_character_becomes_plain_text_or_a_command():
    for number in range(0x3000):
        made = latex(chr(number))
        assert re.fullmatch(r"[ -~À-ÖØ-öø-ÿ]*", made), hex(number)
        bare = re.sub(r"\\[A-Za-z]+|\\[&%$#_{}]|[{}]|^\$|\$$", "", made)
        assert not set(bare) & set("&%$#_~^\\"), hex(number)


def test_a_long_word_may_break_but_only_in_running_text():
    word = "0123456789" * 10
    assert running(f"of {word} is").replace(r"\allowbreak{}", "") == f"of {word} is"
    assert running(word).count(r"\allowbreak{}") == 2
    assert latex(word) == word


def test_tables_are_floats_in_booktabs_and_pages_hold_their_rows(tmp_path):
    text = to_latex(hard_chapters(tmp_path), ["left out: 100% of 3_000"], tmp_path)
    tables = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)
    tall = [table for table in tables if "caption{tall" in table]
    assert [re.search(r"\((\d) of 3\)", table)[1] for table in tall] == ["1", "2", "3"]
    assert re.findall(r"^row (\d+) ", "".join(tall), re.MULTILINE) == [str(row) for row in range(130)]
    wide = [table for table in tables if "caption{wide" in table]
    assert len(wide) > 1
    assert all(re.search(r"^lora \(rank 16\) &", table, re.MULTILINE) for table in wide)
    for table in tables:
        assert [table.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on PATH, only this check needs it")
def test_it_compiles_and_nothing_runs_over_the_page(tmp_path):
    (tmp_path / "report.tex").write_text(
        to_latex(hard_chapters(tmp_path), ["left out: 100% of 3_000"], tmp_path), encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    for _ in range(2):  # the second time for the table of contents
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "report.log").read_text(encoding="utf-8", errors="replace")
    assert "Overfull" not in log
    assert "Float too large" not in log
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
