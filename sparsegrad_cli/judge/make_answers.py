"""Answers the questions that are not answered yet, and keeps each answer as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch

from ..models.load import load_causal
from ..store.hold import held
from .answers import Turn, Writer
from .folder import answers_folder, answers_log, write_records
from .plan import Plan
from .questions import Question
from .schema import Answer

Answers = Mapping[tuple[str, int], Answer]  # hash of the question, turn


class Watch(Protocol):
    """What is told how far the work is."""

    def phase(self, name: str, total: int, done: int) -> None:
        """A part of it begins, of `total` pieces, `done` of them from before."""

    def step(self, more: int = 1) -> None:
        """So many pieces more are done."""


def kept_answers(plan: Plan, results: Path) -> dict[tuple[str, int], Answer]:
    """Those of the plan's questions that are there.

    Raises:
        InputError: the file of answers is not what it should be.
    """
    found = {(a.question, a.turn): a for a in answers_log(answers_folder(results, plan.answers)).read()}
    return {place: answer for place, answer in found.items() if place in plan.places}


def make_answers(plan: Plan, results: Path, batch_size: int, watch: Watch) -> Answers:
    """Every answer of the plan; those that are there are not made again.

    Raises:
        InputError: the model cannot be loaded.
        WorkError: another process answers the same, the memory does not suffice, or nothing can be written.
    """
    found = kept_answers(plan, results)
    if len(found) == len(plan.places):
        return found
    folder = answers_folder(results, plan.answers)
    with held(folder), answers_log(folder).appending() as keep:
        found = kept_answers(plan, results)
        write_records(folder, config=plan.answers)
        watch.phase("answers", len(plan.places), len(found))
        writer = _load(plan, batch_size)
        for batch in _batches(plan.questions, found, batch_size):
            _answer_all(batch, writer, found, keep, watch)
    return found


def _load(plan: Plan, batch_size: int) -> Writer:
    config = plan.answers
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model = load_causal(plan.subject.checkpoint, dtype).model.to(config.device)
    return Writer(model, plan.subject.tokenizer, config.max_new_tokens, config.seed, batch_size)


def _answer_all(
    batch: Sequence[Question],
    writer: Writer,
    found: dict[tuple[str, int], Answer],
    keep: Callable[[Answer], None],
    watch: Watch,
) -> None:
    """First turns, then second ones, which see the answers before them."""
    for number in (1, 2):
        turns = [
            Turn(question, tuple(found[question.key, earlier].text for earlier in range(1, number)))
            for question in batch
            if number <= len(question.turns) and (question.key, number) not in found
        ]
        for answer in writer.answer(turns):
            keep(answer)
            found[answer.question, answer.turn] = answer
            watch.step()


def _batches(
    questions: Sequence[Question], found: Answers, batch_size: int
) -> Iterator[tuple[Question, ...]]:
    """Questions of different texts that want an answer, so many at a time."""
    different = {question.key: question for question in questions}.values()
    todo = iter([q for q in different if any((q.key, turn) not in found for turn in q.turn_numbers)])
    while batch := tuple(islice(todo, batch_size)):
        yield batch
