"""Files of questions, references and prompts: what is read, what is refused and where, what is asked."""

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.judge.judge import rating_in
from sparsegrad_cli.judge.questions import (
    BLANKS,
    Question,
    default_prompts,
    fill_prompt,
    prompts_hash,
    question_set,
    read_prompts,
    read_questions,
    read_references,
    references_shown,
    select_questions,
)

from .questions_file import QUESTIONS, write_lines, write_questions

MATH = Question(question_id=1, category="math", turns=["ask{one}", "ask{two}"])
TEMPLATES = {name: " ".join(f"{{{blank}}}" for blank in blanks) for name, blanks in BLANKS.items()}
GOOD = '{"question_id": 1, "category": "writing", "turns": ["Hello?"]}\n'


def test_mt_bench_as_it_is_published(shared):
    questions = read_questions(shared / "mt_bench" / "mt_bench_inf.jsonl")
    assert len(questions) == 80
    assert {len(question.turns) for question in questions} == {2}
    beside = references_shown(questions, None)
    given = references_shown(
        questions, read_references(shared / "mt_bench" / "reference_answer" / "gpt-4.jsonl")
    )
    assert len(given) == 30  # math, reasoning and coding
    assert set(given) - set(beside) == {"123"}  # a coding question without a reference beside it
    eight = select_questions(questions, (), 8)
    assert len({question.category for question in eight}) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        (GOOD + "{", r"questions.jsonl:2: broken JSON"),
        ('["a"]\n', r"questions.jsonl:1: not a JSON object"),
        ('{"question_id": 1, "turns": ["a"]}', r":1: category: .*required"),
        ('{"question_id": 1, "category": "x", "turns": []}', r":1: turns: .*at least 1"),
        ('{"question_id": 1, "category": "x", "turns": ["a", " "]}', r":1: turns: 1: "),
        ('{"question_id": 1, "category": "x", "turns": ["a", "b", "c"]}', r":1: turns: .*at most 2"),
        (GOOD + "\n" + GOOD, r"questions.jsonl:3: question_id 1 is at .*questions.jsonl:1 already"),
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
    with pytest.raises(InputError, match="not UTF-8"):
        read_questions(tmp_path / "zip")


def test_temperatures_are_those_of_the_category():
    lines = [("math", 0.0), ("stem", 0.1), ("roleplay", 0.7), ("cooking", 0.7)]
    for category, temperature in lines:
        assert Question(question_id=1, category=category, turns=["a"]).temperature == temperature


def test_categories_and_number(tmp_path):
    questions = read_questions(write_questions(tmp_path))
    ids = lambda chosen: [question.question_id for question in chosen]  # noqa: E731
    assert ids(select_questions(questions, (), None)) == [1, 2, 3, 4]
    assert ids(select_questions(questions, (), 3)) == [1, 2, 4]  # one a category first
    assert ids(select_questions(questions, ["math"], None)) == [2, 3]
    assert ids(select_questions(questions, ["math", "stem"], 2)) == [2, 4]
    with pytest.raises(
        InputError, match="no category 'maths', there are writing, math, stem; did you mean math"
    ):
        select_questions(questions, ["maths"], None)


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
    assert references_shown(questions, None) == {"2": ["2", "4"]}
    lines = [{"question_id": number, "choices": [{"turns": ["nine", "4.5"]}]} for number in (1, 3)]
    given = read_references(write_lines(tmp_path / "references.jsonl", lines))
    assert references_shown(questions, given) == {"3": ["nine", "4.5"]}  # writing is judged without
    with pytest.raises(InputError, match=r"references.jsonl:1: choices"):
        read_references(write_lines(tmp_path / "references.jsonl", [{"question_id": 1, "choices": []}]))


def lines(**changes: dict[str, object]) -> list[dict[str, object]]:
    found = [
        {"name": name, "type": "single", "system_prompt": "Judge.", "prompt_template": template}
        | {"output_format": "[[rating]]", "category": "general"}
        | changes.get(name.replace("-", "_"), {})
        for name, template in TEMPLATES.items()
    ]
    return [{"name": "pair-v2", "type": "pairwise", "system_prompt": "", "prompt_template": "{x}"}, *found]


@pytest.mark.parametrize("of_file", [False, True])
def test_each_turn_gets_its_prompt_and_all_that_it_needs(tmp_path, of_file):
    prompts = read_prompts(write_lines(tmp_path / "prompts.jsonl", lines())) if of_file else default_prompts()
    for answers, reference, name in (
        (["said{1}"], [], "single-v1"),
        (["said{1}"], ["right1"], "single-math-v1"),
        (["said{1}", "said{2}"], [], "single-v1-multi-turn"),
        (["said{1}", "said{2}"], ["right1", "right2"], "single-math-v1-multi-turn"),
    ):
        chosen, (system, user) = fill_prompt(prompts, MATH, answers, reference)
        assert chosen == name
        assert (system["role"], user["role"]) == ("system", "user")
        for text in (*MATH.turns[: len(answers)], *answers, *reference):
            assert user["content"].count(text) == 1
        if len(answers) == 1:
            assert MATH.turns[1] not in user["content"]


def test_our_prompts_ask_for_a_rating_that_we_can_read():
    _, (_, user) = fill_prompt(default_prompts(), MATH, ["an answer"], [])
    assert rating_in(user["content"]) == 4  # the example in it


def test_fastchats_file(shared):
    prompts = read_prompts(shared / "mt_bench" / "judge_prompts.jsonl")
    assert prompts_hash(prompts) != prompts_hash(default_prompts())
    _, (system, user) = fill_prompt(prompts, MATH, ["an answer"], ["right"])
    assert system["content"] == "You are a helpful assistant."
    assert "[The Start of Reference Answer]\nright\n[The End of Reference Answer]" in user["content"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"prompt_template": "{question}"},
            r":2: prompt_template of single-v1: \{answer\}; its blanks must be",
        ),
        ({"prompt_template": "{question} {answer} {x.y}"}, r":2: .*\{x.y\}"),
        ({"prompt_template": "{question} {answer} {"}, r":2: prompt_template: .*a brace that is text"),
        (
            {"prompt_template": "{question} {answer:d}"},
            r":2: .*a format; its blanks must be \{question\}, \{answer\}",
        ),
        ({"output_format": "[[A]]"}, r":2: single-v1 is single with \[\[A\]\]"),
        ({"name": "single-v2"}, r"no prompt single-v1; it needs all of"),
        (
            {"name": "single-math-v1", "prompt_template": TEMPLATES["single-math-v1"]},
            r":3: name single-math-v1 is at .*:2 already",
        ),
    ],
)
def test_prompts_that_cannot_be_filled_are_refused(tmp_path, change, words):
    path = write_lines(tmp_path / "prompts.jsonl", lines(single_v1=change))
    with pytest.raises(InputError, match=words):
        read_prompts(path)
