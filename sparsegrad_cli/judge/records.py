"""Files that answers and judgements leave in a results folder, and how they are found, written and read.

Answers are a folder `answers/<id>/`; every judgement of the same answers shares it:

    config.json       AnswersConfig
    answers.jsonl     one Answer a line, in the order in which they were generated

A judgement is a folder `judge/<id>/`:

    config.json       JudgeConfig
    environment.json  store.records.Environment
    exchanges.jsonl   one Exchange a line: every request to the judge and its reply, failed ones too
    answers.jsonl     the Answers that were judged, by question and turn
    result.json       JudgeResult, written last

This module does not import torch, because the report reads judgements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Generic, Literal, TypeVar

import pydantic
from pydantic import Field

from ..errors import InputError
from ..settings import Record, setting
from ..store.folder import ResultKind, read_all
from ..store.io import write_error
from ..store.records import ResultRecord, StoredResult, first_problem

Ended = Literal["end of turn", "--max-new-tokens", "positions", "no room"]
"""Why an answer ends: the model ended it, at --max-new-tokens, at the model's last position, or before its
first token because the conversation fills all positions."""
Precision = Literal["fp32", "bf16"]
QuestionId = int | str
Message = dict[str, str]  # "role" (system, user or assistant) and "content"
Request = dict[str, str | float | int | list[Message]]  # a JSON document for /chat/completions
AnyRecord = TypeVar("AnyRecord", bound=Record)


class AnswersConfig(Record):
    """Everything that decides the answer to a question."""

    kind: Literal["answers"] = "answers"
    model: str = setting(in_id=False)  # as the user named it; for a run, the model that it started from
    checkpoint: str  # identity of the weights: "sha256:..." or "hub:<id>@<commit>"
    chat_template: str  # first 16 hexadecimal digits of its SHA-256
    seed: int
    max_new_tokens: int  # per answer
    device: str  # "cpu" or "cuda"
    precision: Precision  # of weights and arithmetic


class JudgeConfig(Record):
    """Everything that decides a judgement; the endpoint does not."""

    kind: Literal["judge"] = "judge"
    answers: AnswersConfig
    run: str | None  # id of the run whose model answers; None: a model before training
    judge_model: str
    questions: int = setting(in_id=False)  # number of them
    question_set: str  # hash of the questions
    prompts: str = setting(in_id=False)  # "default", or the hash of the prompts of a file
    prompts_asked: str  # hash of the prompts, also of the default ones
    references: str  # hash of the reference answers that the judge is shown
    temperature: float = 0.0  # of the judge
    max_tokens: int = 2048  # per text of the judge
    asks: int = 3  # texts without a rating after which a turn stays unrated


class Answer(Record):
    """The answer to one turn of one question."""

    question_id: QuestionId
    question: str  # `Question.key`
    turn: int  # from 1
    text: str  # without special tokens and outer white space
    ended: Ended
    temperature: float  # 0: greedy
    prompt_tokens: int
    tokens: int  # of the answer
    batch_size: int  # questions answered at once, at most: changes rounding alone


class Reply(Record):
    """What came back from one request; the API key stands in none of the fields."""

    status: int | None  # HTTP; None: no complete reply
    body: str
    text: str | None  # the judge's; "" where it said nothing; None: the reply is no chat completion
    error: str | None  # one line; None where there is a text
    retry_after: float | None = None  # seconds that the endpoint asks to wait
    seconds: float
    at: str  # when the reply was complete: ISO 8601, UTC


class Exchange(Reply):
    """One request and its reply."""

    question_id: QuestionId
    turn: int
    prompt: str  # name of the prompt
    request: Request
    rating: float | None  # 1 to 10


class Rating(Record):
    """The final rating of one turn."""

    question_id: QuestionId
    category: str
    turn: int
    rating: float | None  # 1 to 10; None: the judge gave none
    reference: bool  # whether the judge was shown a reference answer


class JudgeResult(ResultRecord):
    """`result.json`. Turns without a rating are left out of every mean."""

    run: str | None
    model: str
    judge_model: str
    status: Literal["done", "failed"]  # failed: no turn has a rating
    score: float | None  # mean of all ratings
    turns: dict[str, float] = Field(default_factory=dict)  # "1", "2" -> mean
    categories: dict[str, float] = Field(default_factory=dict)  # category -> mean over both turns
    rated: int  # turns
    unrated: int  # turns
    no_reference: int  # turns of a category that is judged by reference answers, judged without one
    ended: dict[Ended, int]  # reason -> answers
    questions: int
    question_set: str
    prompts: str
    ratings: tuple[Rating, ...]


Judgement = StoredResult[JudgeConfig, JudgeResult]

ANSWERS = ResultKind(
    "answers",
    AnswersConfig,
    ResultRecord,
    ("kind", "answers"),
    "delete the folder to answer again",
    has_environment=False,
)
JUDGEMENTS = ResultKind(
    "judge", JudgeConfig, JudgeResult, ("kind", "judge"), "delete the folder to judge again"
)


def read_judgements(folders: Sequence[Path]) -> tuple[Judgement, ...]:
    """Returns every finished judgement in some results folders; see `store.folder.read_all`."""
    return read_all(JUDGEMENTS, folders)


class RecordLog(Generic[AnyRecord]):
    """A file of records, one JSON document a line, that survives a kill between or within lines."""

    def __init__(self, path: Path, kind: type[AnyRecord]) -> None:
        self.path, self._kind = path, kind

    def read(self) -> list[AnyRecord]:
        """Returns the records but a last line that was cut short; raises InputError where one is another."""
        records = []
        for number, line in enumerate(self._complete_lines().splitlines(), 1):
            try:
                records.append(self._kind.model_validate_json(line))
            except pydantic.ValidationError as error:
                raise InputError(
                    f"{self.path}:{number}: not written by sparsegrad ({first_problem(error)}); "
                    "delete the line"
                ) from None
        return records

    @contextmanager
    def appending(self) -> Iterator[Callable[[AnyRecord], None]]:
        """Yields a function that appends a record, from any thread; drops a last line that was cut short.

        Raises:
            WorkError: the file cannot be written; its complete lines stay.
        """
        lock = Lock()
        with self._as_work_error():
            size = len(self._complete_lines())
            file = self.path.open("ab", buffering=0)  # closing a buffered file writes, and fails, once more
        with file:
            with self._as_work_error():
                file.truncate(size)

            def append(record: AnyRecord) -> None:
                nonlocal size
                line = record.model_dump_json().encode() + b"\n"
                with lock, self._as_work_error():
                    try:
                        written = 0
                        while written < len(line):
                            written += file.write(line[written:])
                    except OSError:
                        file.truncate(size)
                        raise
                    size += len(line)

            yield append

    def _complete_lines(self) -> bytes:
        data = self.path.read_bytes() if self.path.exists() else b""
        return data[: data.rfind(b"\n") + 1]

    @contextmanager
    def _as_work_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(self.path, error) from None
