"""What answers and judgements leave on disk: every key of their files, typed.

Answers are a folder `answers/<id>/`, where `<id>` is the hash of what decides them; judges share it:

    config.json       AnswersConfig
    answers.jsonl     Answer, one a line, in the order in which they were made

A judgement is a folder `judge/<id>/`:

    config.json       JudgeConfig
    environment.json  store.schema.Environment
    exchanges.jsonl   Exchange, one a line: every request and what came back, failures too
    answers.jsonl     Answer: those that were judged, by question and turn
    result.json       JudgeResult; written last, and atomically
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field

from ..store.schema import Record

Ended = Literal["end of turn", "--max-new-tokens", "positions", "no room"]
"""Why an answer ends: the model said so; at the option's value; where the model has no more positions; or the
conversation before it left none, and the answer is empty."""
Precision = Literal["fp32", "bf16"]
QuestionId = int | str
Message = dict[str, str]  # "role" (system, user or assistant) and "content"

JUDGE_TEMPERATURE = 0.0
JUDGE_TOKENS = 2048  # of a judge's text, at most
ASKS = 3  # texts without a rating before a turn counts as unrated


class AnswersConfig(Record):
    """Everything that decides the answer to a question."""

    kind: Literal["answers"] = "answers"
    model: str  # as it was given; a run's is what the run began from
    checkpoint: str  # identity of the weights: "sha256:..." or "hub:<id>@<commit>"
    chat_template: str  # SHA-256 of it, the first 16 hexadecimal digits
    seed: int
    max_new_tokens: int  # of one answer
    device: str  # "cpu" or "cuda"
    precision: Precision  # of weights and arithmetic

    def answers_id(self) -> str:
        """Sixteen hexadecimal digits that name the folder; what the model is called does not count."""
        return short_hash(self.model_dump(exclude={"model"}))


class JudgeConfig(Record):
    """Everything that was asked for; where the judge is (`--endpoint`) decides nothing."""

    kind: Literal["judge"] = "judge"
    answers: AnswersConfig
    run: str | None  # id of the run whose model answers; None: a model before training
    judge_model: str
    questions: int
    question_set: str  # hash of the questions asked
    prompts: str  # "default", or the hash of the file's four prompts
    prompts_asked: str  # hash of the four prompts, the default ones too
    references: str  # hash of the references that are shown
    temperature: float = JUDGE_TEMPERATURE
    max_tokens: int = JUDGE_TOKENS
    asks: int = ASKS

    def judge_id(self) -> str:
        """Sixteen hexadecimal digits that name the folder."""
        key = self.model_dump(exclude={"answers", "questions", "prompts"})
        return short_hash({**key, "answers": self.answers.answers_id()})


class Answer(Record):
    """One turn of one question, answered."""

    question_id: QuestionId
    question: str  # hash of what decides the answer: turns and temperature
    turn: int  # from 1
    text: str  # without special tokens and outer white space
    ended: Ended
    temperature: float  # 0: the likeliest token each time
    prompt_tokens: int  # of the conversation before it
    tokens: int  # of the answer
    batch_size: int  # questions answered at once, at most: it changes the rounding of the arithmetic only


class Exchange(Record):
    """One request and what came back; the key stands in neither."""

    question_id: QuestionId
    turn: int
    prompt: str  # its name
    request: dict[str, str | float | int | list[Message]]  # the JSON document that was sent
    status: int | None  # HTTP; None: no whole answer came
    body: str  # as it came
    text: str | None  # the judge's; None: the answer held none
    rating: float | None  # 1 to 10
    error: str | None  # one line; None where there is a text
    seconds: float
    at: str  # when it was over: ISO 8601, UTC


class Rating(Record):
    """What a turn came to."""

    question_id: QuestionId
    category: str
    turn: int
    rating: float | None  # 1 to 10; None: the judge gave none
    reference: bool  # the judge was shown one


class JudgeResult(Record):
    """`result.json`. Means are of the ratings alone; a turn without one counts as nothing, not as 0."""

    id: str
    run: str | None
    model: str
    judge_model: str
    status: Literal["done", "failed"]  # failed: not one rating
    score: float | None  # mean of all ratings
    turns: dict[str, float] = Field(default_factory=dict)  # "1", "2" -> mean
    categories: dict[str, float] = Field(default_factory=dict)  # -> mean over both turns
    rated: int  # turns
    unrated: int  # turns
    no_reference: int  # turns of a category that is judged by a reference, and had none
    ended: dict[Ended, int]  # answers, by why they end
    questions: int
    question_set: str
    prompts: str
    ratings: tuple[Rating, ...]


def short_hash(of: object) -> str:
    """The first sixteen hexadecimal digits of the SHA-256 of a JSON document."""
    canonical = json.dumps(of, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
