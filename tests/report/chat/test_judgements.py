"""Ratings beside losses: which judgements make one column, and what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.chat.section import chat_sections
from sparsegrad_cli.report.chat.table import Judge

from ..chats import write_chat, write_judgement


def judges(folder: Path) -> tuple[Judge, ...]:
    (made,) = build_report([folder]).chat
    return made.judges


def test_a_row_has_the_mean_over_its_runs_and_the_start_its_own(tmp_path):
    for seed, score in enumerate((5.0, 6.0)):
        write_judgement(tmp_path, write_chat(tmp_path, seed=seed), score, unrated=seed)
    write_chat(tmp_path, "ft")
    write_judgement(tmp_path, None, 3.0)
    (judge,) = judges(tmp_path)
    none, judged = judge.rows
    assert none is None
    assert judged
    assert (judged.score.mean, judged.score.n) == (5.5, 2)
    assert judged.turns == {"1": 6.0, "2": 5.0}
    assert judged.categories == {"math": 4.5, "writing": 6.5}
    assert (judged.rated, judged.unrated) == (319, 1)
    assert judge.before
    assert judge.before.score.mean == 3.0


def test_answers_of_two_seeds_are_one_run(tmp_path):
    run = write_chat(tmp_path)
    write_judgement(tmp_path, run, 5.0)
    write_judgement(tmp_path, run, 7.0, answers={"seed": 1})
    (judge,) = judges(tmp_path)
    assert judge.rows[0]
    assert (judge.rows[0].score.mean, judge.rows[0].score.n) == (6.0, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"judge_model": "another"},
        {"question_set": "6f" * 8, "questions": 10},
        {"prompts": "b" * 16, "prompts_asked": "b" * 16},
        {"references": "e" * 16},
        {"answers": {"max_new_tokens": 64}},
    ],
)
def test_ratings_that_do_not_compare_stand_in_columns_of_their_own(tmp_path, other):
    run = write_chat(tmp_path)
    write_judgement(tmp_path, run, 5.0)
    write_judgement(tmp_path, run, 9.0, **other)
    found = judges(tmp_path)
    assert sorted(judge.rows[0].score.mean for judge in found if judge.rows[0]) == [5.0, 9.0]
    assert len({judge.name for judge in found}) == 2


def test_judgements_of_other_models_stand_nowhere(tmp_path):
    write_chat(tmp_path)
    write_judgement(tmp_path, None, 5.0, answers={"checkpoint": "sha256:" + "cd" * 32})
    write_judgement(tmp_path, tmp_path / "runs" / "0123456789abcdef", 5.0)
    assert judges(tmp_path) == ()


def test_an_unfinished_judgement_is_neither_a_run_nor_a_column(tmp_path):
    folder = write_judgement(tmp_path, write_chat(tmp_path), 5.0)
    (folder / "result.json").unlink()
    report = build_report([tmp_path])
    assert report.left_out == {}
    assert report.chat[0].judges == ()


def test_a_folder_of_judgements_alone_is_no_error(tmp_path):
    write_judgement(tmp_path, None, 5.0)
    assert build_report([tmp_path]).chat == ()


def test_ratings_by_turn_and_category_with_the_unrated(tmp_path):
    write_judgement(tmp_path, write_chat(tmp_path), 5.0, unrated=3)
    (made,) = build_report([tmp_path]).chat
    _, grid = next(iter(chat_sections(made))).grids
    assert [part.head for part in grid] == [
        ["rated by gpt-4"],
        ["turn 1"],
        ["turn 2"],
        ["math"],
        ["writing"],
        ["unrated"],
    ]
    assert [part.cells[0] for part in grid[1:]] == [["5.50"], ["4.50"], ["4.00"], ["6.00"], ["3 of 160"]]
    assert "3 of 160 answers without a rating" in made.table.caption["rated by gpt-4"]
