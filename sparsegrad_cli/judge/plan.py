"""From what a user asked for to what is answered and judged, checked before a model is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..training.checks import choose_device
from .prompts import Prompts, default_prompts, read_prompts
from .questions import (
    BY_REFERENCE,
    Question,
    choose,
    question_set,
    read_questions,
    read_references,
    shown_references,
)
from .schema import AnswersConfig, JudgeConfig, short_hash
from .subject import Subject, find_subject


@dataclass(frozen=True)
class Choices:
    """What is judged, and by whom."""

    questions: Path
    run: Path | None = None
    model: str | None = None
    judge_model: str | None = None  # None: nothing is judged
    references: Path | None = None
    prompts: Path | None = None
    categories: Sequence[str] = ()
    max_questions: int | None = None
    max_new_tokens: int = 1024
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Plan:
    """Ready to be answered and judged."""

    subject: Subject
    questions: tuple[Question, ...]
    answers: AnswersConfig
    prompts: Prompts
    references: dict[str, list[str]]  # question id -> a text a turn; where a judge is shown them
    judge: JudgeConfig | None

    @property
    def places(self) -> frozenset[tuple[str, int]]:
        """Of the answers: hash of the question, turn."""
        return frozenset((q.key, turn) for q in self.questions for turn in q.turn_numbers)

    def reference(self, question: Question, turn: int) -> list[str]:
        """What a judge of this turn is shown: a text for it and each before it, or none."""
        texts = self.references.get(str(question.question_id), [])[:turn]
        return texts if len(texts) == turn and all(texts) else []

    def lacks_reference(self, question: Question, turn: int) -> bool:
        """Whether it is judged without, though its category asks for one."""
        return question.category in BY_REFERENCE and not self.reference(question, turn)


def plan(choices: Choices) -> Plan:
    """Reads the files, finds the model, and checks that all fit together.

    Raises:
        InputError: anything that is wrong with what was asked for.
        WorkError: the hub's cache cannot be written.
    """
    questions = choose(read_questions(choices.questions), choices.categories, choices.max_questions)
    prompts = read_prompts(choices.prompts) if choices.prompts else default_prompts()
    given = read_references(choices.references) if choices.references else None
    references = shown_references(questions, given)
    device = choose_device(choices.device, "fp32")
    subject = find_subject(choices.run, choices.model)
    answers = AnswersConfig(
        model=subject.name,
        checkpoint=subject.checkpoint.identity,
        chat_template=hashlib.sha256(str(subject.tokenizer.chat_template).encode()).hexdigest()[:16],
        seed=choices.seed,
        max_new_tokens=choices.max_new_tokens,
        device=device,
        precision="bf16" if device == "cuda" else "fp32",
    )
    judge = None
    if choices.judge_model is not None:
        judge = JudgeConfig(
            answers=answers,
            run=subject.run,
            judge_model=choices.judge_model,
            questions=len(questions),
            question_set=question_set(questions),
            prompts=prompts.name,
            prompts_asked=prompts.hash,
            references=short_hash(references),
        )
    return Plan(subject, questions, answers, prompts, references, judge)
