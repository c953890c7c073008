"""Question files: what is read, what is refused and where, which questions are asked."""

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.judge.questions import (
    choose,
    question_set,
    read_questions,
    read_references,
    shown_references,
)

from .questions_file import QUESTIONS, write_lines, write_questions

GOOD = '{"question_id": 1, "category": "writing", "turns": ["Hello?"]}\n'


def test_mt_bench_as_it_is_published(shared):
    questions = read_questions(shared / "mt_bench" / "mt_bench_inf.jsonl")
    assert len(questions) == 80
    assert {len(question.turns) for question in questions} == {2}
    beside = shown_references(questions, None)
    given = shown_references(
        questions, read_references(shared / "mt_bench" / "reference_answer" / "gpt-4.jsonl")
    )
    assert len(given) == 30  # math, reasoning and coding
    assert set(given) - set(beside) == {"123"}  # a coding question without a reference beside it
    eight = choose(questions, (), 8)
    assert len({question.category for question in eight}) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        (GOOD + "{", r"questions.jsonl:2: not JSON"),
        ('["a"]\n', r"questions.jsonl:1: .*dictionary"),
        ('{"question_id": 1, "turns": ["a"]}', r":1: category: .*required"),
        ('{"question_id": 1, "category": "x", "turns": []}', r":1: turns: .*at least 1"),
        ('{"question_id": 1, "category": "x", "turns": ["a", " "]}', r":1: turns.1: "),
        ('{"question_id": 1, "category": "x", "turns": ["a", "b", "c"]}', r":1: turns: .*at most 2"),
        (GOOD + "\n" + GOOD, r"questions.jsonl:3: question 1 is at .*questions.jsonl:1 already"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, text, words):
    path = tmp_path / "questions.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_questions(path)


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(InputError, match=r"--questions .*no such file"):
        read_questions(tmp_path / "questions.jsonl")
    (tmp_path / "zip").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_questions(tmp_path / "zip")


def test_temperatures_are_those_of_the_category():
    lines = [("math", 0.0), ("stem", 0.1), ("roleplay", 0.7), ("cooking", 0.7)]
    from sparsegrad_cli.judge.questions import Question

    for category, temperature in lines:
        assert Question(question_id=1, category=category, turns=["a"]).temperature == temperature


def test_categories_and_number(tmp_path):
    questions = read_questions(write_questions(tmp_path))
    ids = lambda chosen: [question.question_id for question in chosen]  # noqa: E731
    assert ids(choose(questions, (), None)) == [1, 2, 3, 4]
    assert ids(choose(questions, (), 3)) == [1, 2, 4]  # one a category first
    assert ids(choose(questions, ["math"], None)) == [2, 3]
    assert ids(choose(questions, ["math", "stem"], 2)) == [2, 4]
    with pytest.raises(
        InputError, match="no category 'maths', there are writing, math, stem; did you mean math"
    ):
        choose(questions, ["maths"], None)


def test_the_set_has_one_name_in_any_order_and_another_for_another_text(tmp_path):
    questions = read_questions(write_questions(tmp_path))
    assert question_set(questions) == question_set(questions[::-1])
    changed = [{**QUESTIONS[0], "turns": ["Tell a story of a cat.", "Make it short."]}, *QUESTIONS[1:]]
    others = read_questions(write_lines(tmp_path / "others.jsonl", changed))
    assert question_set(others) != question_set(questions)
    assert others[0].key != questions[0].key
    assert others[1].key == questions[1].key


def test_references_of_a_file_go_before_those_beside_the_questions(tmp_path):
    questions = read_questions(write_questions(tmp_path))
    assert shown_references(questions, None) == {"2": ["2", "4"]}
    lines = [{"question_id": number, "choices": [{"turns": ["nine", "4.5"]}]} for number in (1, 3)]
    given = read_references(write_lines(tmp_path / "references.jsonl", lines))
    assert shown_references(questions, given) == {"3": ["nine", "4.5"]}  # writing is judged without
    with pytest.raises(InputError, match=r"references.jsonl:1: choices"):
        read_references(write_lines(tmp_path / "references.jsonl", [{"question_id": 1, "choices": []}]))
