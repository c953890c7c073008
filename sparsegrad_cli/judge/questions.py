"""Questions and reference answers, in FastChat's files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..errors import InputError, unknown
from .lines import read_lines
from .schema import QuestionId, short_hash

# FastChat's; a category that is not here is answered at 0.7
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

QUESTION = '{"question_id": 1, "category": "writing", "turns": ["...", "..."]}'
REFERENCE = '{"question_id": 1, "choices": [{"turns": ["...", "..."]}]}'

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False, pattern=r"\S")]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)  # keys that we do not use are let pass


class Question(_Line):
    """One question: what a user says in one turn or two."""

    question_id: QuestionId
    category: str
    turns: list[Text] = Field(min_length=1, max_length=2)
    reference: list[str] = Field(default_factory=list)  # a right answer to each turn

    @property
    def temperature(self) -> float:
        """At which it is answered."""
        return TEMPERATURES.get(self.category, OTHER_TEMPERATURE)

    @property
    def turn_numbers(self) -> range:
        """From 1."""
        return range(1, len(self.turns) + 1)

    @property
    def key(self) -> str:
        """A hash of what decides its answers."""
        return short_hash([self.turns, self.temperature])


class _Choice(_Line):
    turns: list[str] = Field(min_length=1)


class _ReferenceLine(_Line):
    question_id: QuestionId
    choices: list[_Choice] = Field(min_length=1)


def read_questions(path: Path) -> list[Question]:
    """Every question of a file.

    Raises:
        InputError: it is not FastChat's, or two questions have one id; names file and line.
    """
    lines = read_lines(Question, path, "--questions", QUESTION)
    _check_ids((place, question.question_id) for place, question in lines)
    return [question for _, question in lines]


def read_references(path: Path) -> dict[str, list[str]]:
    """The reference answers of a file: question id -> a text a turn.

    Raises:
        InputError: as `read_questions`.
    """
    lines = read_lines(_ReferenceLine, path, "--references", REFERENCE)
    _check_ids((place, line.question_id) for place, line in lines)
    return {str(line.question_id): line.choices[0].turns for _, line in lines}


def choose(
    questions: Sequence[Question], categories: Sequence[str], at_most: int | None
) -> tuple[Question, ...]:
    """Those of some categories (none: all); of them the first so many, drawn evenly from the categories.

    Raises:
        InputError: there is no such category.
    """
    known = list(dict.fromkeys(question.category for question in questions))
    for category in categories:
        if category not in known:
            raise InputError(f"--category: {unknown('category', category, known)}")
    wanted = [question for question in questions if question.category in (categories or known)]
    seen: Counter[str] = Counter()
    rounds = []
    for place, question in enumerate(wanted):
        rounds.append((seen[question.category], place))
        seen[question.category] += 1
    return tuple(wanted[place] for place in sorted(place for _, place in sorted(rounds)[:at_most]))


def shown_references(
    questions: Sequence[Question], given: Mapping[str, Sequence[str]] | None
) -> dict[str, list[str]]:
    """The references that a judge is shown: question id -> a text a turn.

    Args:
        given: of `--references`, in place of those that stand beside the questions.
    """
    found = {}
    for question in questions:
        texts = question.reference if given is None else given.get(str(question.question_id), ())
        if question.category in BY_REFERENCE and any(texts):
            found[str(question.question_id)] = list(texts)
    return found


def question_set(questions: Iterable[Question]) -> str:
    """A hash of the questions, whatever their order."""
    return short_hash(sorted([str(q.question_id), q.category, *q.turns] for q in questions))


def _check_ids(places: Iterable[tuple[str, QuestionId]]) -> None:
    seen: dict[str, str] = {}
    for place, question_id in places:
        if str(question_id) in seen:
            raise InputError(f"{place}: question {question_id} is at {seen[str(question_id)]} already")
        seen[str(question_id)] = place
