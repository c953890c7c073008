"""Judge prompts: ours, FastChat's, and what is refused."""

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.judge.prompts import BLANKS, default_prompts, read_prompts
from sparsegrad_cli.judge.questions import Question
from sparsegrad_cli.judge.rating import rating_in

from .questions_file import write_lines

QUESTION = Question(question_id=1, category="math", turns=["ask{one}", "ask{two}"])
TEMPLATES = {name: " ".join(f"{{{blank}}}" for blank in blanks) for name, blanks in BLANKS.items()}


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
        chosen, (system, user) = prompts.fill(QUESTION, answers, reference)
        assert chosen == name
        assert (system["role"], user["role"]) == ("system", "user")
        for text in (*QUESTION.turns[: len(answers)], *answers, *reference):
            assert user["content"].count(text) == 1
        if len(answers) == 1:
            assert QUESTION.turns[1] not in user["content"]


def test_our_prompts_ask_for_a_rating_that_we_can_read():
    _, (_, user) = default_prompts().fill(QUESTION, ["an answer"], [])
    assert rating_in(user["content"]) == 4  # the example in it


def test_fastchats_file(shared):
    prompts = read_prompts(shared / "mt_bench" / "judge_prompts.jsonl")
    assert prompts.name == prompts.hash != default_prompts().hash
    _, (system, user) = prompts.fill(QUESTION, ["an answer"], ["right"])
    assert system["content"] == "You are a helpful assistant."
    assert "[The Start of Reference Answer]\nright\n[The End of Reference Answer]" in user["content"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt_template": "{question}"}, r":2: prompt_template of single-v1: \{answer\}; its blanks are"),
        ({"prompt_template": "{question} {answer} {x.y}"}, r":2: .*\{x.y\}"),
        ({"prompt_template": "{question} {answer} {"}, r":2: prompt_template: .*a brace that is text"),
        ({"output_format": "[[A]]"}, r":2: single-v1 is single with \[\[A\]\]"),
        ({"name": "single-v2"}, r"no prompt single-v1; it needs all of"),
        ({"name": "single-math-v1", "prompt_template": TEMPLATES["single-math-v1"]}, r":3: a second prompt"),
    ],
)
def test_prompts_that_cannot_be_filled_are_refused(tmp_path, change, words):
    path = write_lines(tmp_path / "prompts.jsonl", lines(single_v1=change))
    with pytest.raises(InputError, match=words):
        read_prompts(path)
