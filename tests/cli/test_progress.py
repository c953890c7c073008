"""The progress display: lines of text, live lines in a terminal, nothing when quiet."""

from __future__ import annotations

import io

from rich.console import Console

from sparsegrad_cli.cli.progress import Display, Line, format_seconds
from sparsegrad_cli.progress import ProgressState


def train(line: Line) -> None:
    line.phase("train", 40)
    line.step(8, loss=0.5)
    line.evaluated("accuracy", 0.5, 0.75)
    line.phase("score", 1)
    line.step(1)


def test_without_a_terminal_phases_evaluations_and_ends_are_lines():
    out = io.StringIO()
    with Display(console=Console(file=out), total=2) as display:
        one, other = display.line("cola ft [math]"), display.line("cola lora")
        train(one)
        display.end(one, "done")
        other.show(ProgressState(phase="train", done=1, total=3))  # a worker's: nothing to print
        display.end(other, "diverged", is_failed=True)
    assert out.getvalue().splitlines() == [
        "cola ft [math]: train, 40 steps",
        "cola ft [math]: step 8/40, accuracy 50.0 (best 75.0)",
        "[1/2] cola ft [math]: done",
        "[2/2] cola lora: diverged",
    ]


def test_a_phase_can_print_updates_of_its_steps():
    out = io.StringIO()
    with Display(console=Console(file=out), updates=2) as display:
        line = display.line("")
        line.phase("answer", 6, done=1)
        for done in range(2, 7):
            line.step(done)
    assert out.getvalue().splitlines() == [
        "answer: 1 of 6",
        "answer: 3 of 6",
        "answer: 6 of 6",
    ]


def test_a_terminal_shows_the_state_of_each_line_and_keeps_the_ends():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Display(console=console, total=2, what="cells") as display:
        line = display.line("cola ft [math]")
        train(line)
        other = display.line("cola lora")
        other.show(ProgressState(phase="train", done=3, total=9, metric="accuracy", best=0.5))
        display.end(line, "done")
        display.say("a line above")
    shown = out.getvalue()
    assert "cola ft [math]: done" in shown
    assert "a line above" in shown
    assert "step 8/40" not in shown
    for part in ("cells", "1/2", "cola lora", "3/9", "best 50.0"):
        assert part in shown


def test_quiet_shows_nothing():
    out = io.StringIO()
    with Display(quiet=True, console=Console(file=out, force_terminal=True), total=1) as display:
        line = display.line("cola ft")
        train(line)
        display.end(line, "done")
    assert out.getvalue() == ""


def test_durations_are_short():
    assert [format_seconds(seconds) for seconds in (45, 720, 12000)] == ["45 s", "12 min", "3 h 20 min"]


def test_a_score_is_shown_beside_the_best_of_the_earlier_ones_of_its_task():
    display = Display(quiet=True)
    assert display.beside("demo cola", "ft", "accuracy", 0.5) == ""
    assert display.beside("demo cola", "ft", "accuracy", 0.7) == "; before it: ft 50.0"
    assert display.beside("demo cola", "lora", "accuracy", 0.8) == "; before it: ft 60.0 (2 seeds)"
    assert display.beside("demo cola", "sift", "accuracy", 0.1) == "; before it: lora 80.0, ft 60.0 (2 seeds)"
    assert display.beside("demo rte", "lora", "accuracy", 0.8) == ""
