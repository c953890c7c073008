"""Questions, reference answers and judge prompts, in FastChat's file formats."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..errors import InputError, unknown
from ..settings import hash_of
from ..store.records import first_problem
from ..tasks.rows import json_lines
from .records import Message, QuestionId

# FastChat's temperatures of the answers
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7
BY_REFERENCE = frozenset({"math", "reasoning", "coding", "arena-hard-200"})  # FastChat's NEED_REF_CATS

RATING_FORMAT = "[[rating]]"
# name of a prompt in FastChat's file -> blanks of its template
BLANKS = {
    "single-v1": ("question", "answer"),
    "single-math-v1": ("question", "answer", "ref_answer_1"),
    "single-v1-multi-turn": ("question_1", "answer_1", "question_2", "answer_2"),
    "single-math-v1-multi-turn": (
        *("question_1", "answer_1", "question_2", "answer_2"),
        *("ref_answer_1", "ref_answer_2"),
    ),
}

QUESTION_LINE = '{"question_id": 1, "category": "writing", "turns": ["...", "..."]}'
REFERENCE_LINE = '{"question_id": 1, "choices": [{"turns": ["...", "..."]}]}'
PROMPT_LINE = (
    '{"name": "single-v1", "type": "single", "system_prompt": "...", "prompt_template": "... {question} ... '
    f'{{answer}} ...", "output_format": "{RATING_FORMAT}"}}'
)

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False, pattern=r"\S")]


class Line(BaseModel):
    """One line of a user's file; keys that we do not use are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


AnyLine = TypeVar("AnyLine", bound=Line)


class Question(Line):
    """A question of one or two turns."""

    question_id: QuestionId
    category: str
    turns: list[Text] = Field(min_length=1, max_length=2)
    reference: list[str] = Field(default_factory=list)  # a correct answer to each turn

    @property
    def temperature(self) -> float:
        """Sampling temperature of the answers."""
        return TEMPERATURES.get(self.category, OTHER_TEMPERATURE)

    @property
    def turn_numbers(self) -> range:
        """1, or 1 and 2."""
        return range(1, len(self.turns) + 1)

    @property
    def key(self) -> str:
        """Hash of what decides the answers."""
        return hash_of([self.turns, self.temperature])


class ReferenceTurns(Line):
    turns: list[str] = Field(min_length=1)


class ReferenceLine(Line):
    question_id: QuestionId
    choices: list[ReferenceTurns] = Field(min_length=1)


class Prompt(Line):
    """One of the four prompts in `BLANKS`."""

    name: str
    type: str = "single"
    system_prompt: str
    prompt_template: str
    output_format: str = RATING_FORMAT


def read_questions(path: Path) -> list[Question]:
    """Returns every question of a file.

    Raises:
        InputError: it is not in FastChat's format, or two questions have one id; names file and line.
    """
    lines = _read_lines(Question, path, "--questions", "question_id", QUESTION_LINE)
    return [question for _, question in lines]


def read_references(path: Path) -> dict[str, list[str]]:
    """Returns the reference answers of a file: question id -> one text per turn; see `read_questions`."""
    lines = _read_lines(ReferenceLine, path, "--references", "question_id", REFERENCE_LINE)
    return {str(line.question_id): line.choices[0].turns for _, line in lines}


def select_questions(
    questions: Sequence[Question], categories: Sequence[str], at_most: int | None
) -> tuple[Question, ...]:
    """Returns the first `at_most` questions of some categories (none: all), taken evenly from each."""
    known = list(dict.fromkeys(question.category for question in questions))
    for category in categories:
        if category not in known:
            raise InputError(f"--category: {unknown('category', category, known)}")
    wanted = [question for question in questions if question.category in (categories or known)]
    seen: Counter[str] = Counter()
    ranked = []  # (rank within the category, position)
    for position, question in enumerate(wanted):
        ranked.append((seen[question.category], position))
        seen[question.category] += 1
    return tuple(
        wanted[position] for position in sorted(position for _, position in sorted(ranked)[:at_most])
    )


def references_shown(
    questions: Sequence[Question], given: Mapping[str, Sequence[str]] | None
) -> dict[str, list[str]]:
    """Returns the references that a judge is shown: those `given`, or those beside the questions."""
    found = {}
    for question in questions:
        texts = question.reference if given is None else given.get(str(question.question_id), ())
        if question.category in BY_REFERENCE and any(texts):
            found[str(question.question_id)] = list(texts)
    return found


def question_set(questions: Iterable[Question]) -> str:
    """Returns a hash of the questions that does not depend on their order."""
    return hash_of(sorted([str(q.question_id), q.category, *q.turns] for q in questions))


def default_prompts() -> dict[str, Prompt]:
    """Returns our own prompts, from `prompts.yaml`."""
    documents = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text(encoding="utf-8"))
    return {document["name"]: Prompt.model_validate(document) for document in documents}


def read_prompts(path: Path) -> dict[str, Prompt]:
    """Returns the four prompts of `BLANKS` from FastChat's `judge_prompts.jsonl`, which holds others too.

    Raises:
        InputError: one is missing, or we cannot fill its blanks; names file and line.
    """
    found: dict[str, Prompt] = {}
    for place, prompt in _read_lines(Prompt, path, "--prompts", "name", PROMPT_LINE):
        if prompt.name in BLANKS:
            _check_prompt(place, prompt)
            found[prompt.name] = prompt
    missing = [name for name in BLANKS if name not in found]
    if missing:
        raise InputError(
            f"--prompts {path}: no prompt {', '.join(missing)}; it needs all of {', '.join(BLANKS)}"
        )
    return found


def prompts_hash(prompts: Mapping[str, Prompt]) -> str:
    """Returns a hash of what a judge reads."""
    return hash_of([[prompts[name].system_prompt, prompts[name].prompt_template] for name in BLANKS])


def fill_prompt(
    prompts: Mapping[str, Prompt], question: Question, answers: Sequence[str], reference: Sequence[str]
) -> tuple[str, list[Message]]:
    """Returns the name of the prompt that asks for a rating of the last answer, and its messages.

    Args:
        answers: to the first turn, or to both.
        reference: one text per turn; empty: the judge is shown none.
    """
    name = f"single{'-math' if reference else ''}-v1{'-multi-turn' if len(answers) == 2 else ''}"
    prompt = prompts[name]
    texts = {"question": question.turns[0], "answer": answers[0]}
    for blank, of_turns in (("question", question.turns), ("answer", answers), ("ref_answer", reference)):
        texts |= {f"{blank}_{turn}": text for turn, text in enumerate(of_turns, 1)}
    filled = prompt.prompt_template.format(**{blank: texts[blank] for blank in BLANKS[name]})
    return name, [{"role": "system", "content": prompt.system_prompt}, {"role": "user", "content": filled}]


def _check_prompt(place: str, prompt: Prompt) -> None:
    if (prompt.type, prompt.output_format) != ("single", RATING_FORMAT):
        raise InputError(
            f"{place}: {prompt.name} is {prompt.type} with {prompt.output_format}; it must be single with "
            f"{RATING_FORMAT}"
        )
    try:
        parsed = list(string.Formatter().parse(prompt.prompt_template))
    except ValueError as error:
        raise InputError(f"{place}: prompt_template: {error}; double a brace that is text") from None
    blanks = {blank for _, blank, _, _ in parsed if blank is not None}
    odd = ", ".join(f"{{{blank}}}" for blank in sorted(blanks ^ set(BLANKS[prompt.name])))
    if odd or any(spec or conversion for _, _, spec, conversion in parsed):
        wanted = ", ".join(f"{{{blank}}}" for blank in BLANKS[prompt.name])
        problem = f"{odd or 'a format'}; its blanks must be {wanted}"
        raise InputError(f"{place}: prompt_template of {prompt.name}: {problem}")


def _read_lines(
    kind: type[AnyLine], path: Path, option: str, key: str, example: str
) -> Iterator[tuple[str, AnyLine]]:
    """Yield the documents of a JSON-lines file, each with its place (`file:line`).

    Args:
        option: with which the user gave the file.
        key: of which no two lines have the same value.
        example: of a line.

    Raises:
        InputError: the file is missing, empty or not text, or a line is something else; names it.
    """
    if not path.exists():
        raise InputError(f"{option} {path}: no such file")
    seen: dict[str, str] = {}
    for number, row in json_lines(path):
        place = f"{path}:{number}"
        try:
            line = kind.model_validate(row)
        except pydantic.ValidationError as error:
            raise InputError(f"{place}: {first_problem(error)}; a line is such as {example}") from None
        value = str(getattr(line, key))
        if value in seen:
            raise InputError(f"{place}: {key} {value} is at {seen[value]} already")
        seen[value] = place
        yield place, line
    if not seen:
        raise InputError(f"{option} {path}: it is empty; give lines such as {example}")
