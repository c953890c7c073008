"""What a table of chat runs has beside a table of runs. No drawing here.

Losses are in nats a token, ratings from 1 to 10.
"""

from __future__ import annotations

from ...settings import Record
from ..significance import Significance
from ..table import Spread, Table


class Judged(Record):
    """What a judge gave to the answers of one row's runs."""

    score: Spread  # over the runs, each with the mean of its ratings
    turns: dict[str, float]  # "1", "2" -> mean
    categories: dict[str, float]  # of questions -> mean
    rated: int  # answers, over all runs
    unrated: int  # answers without a rating, which count in no mean


class Judge(Record):
    """A column: what may be compared, by one judge of one set of questions in one wording."""

    name: str  # of the column: the judge's model, with a number where several have one
    model: str
    questions: int
    question_set: str  # SHA-256 of the questions, its beginning
    prompts: str  # "default", or the beginning of their file's SHA-256
    references: str  # the same of the answers that the judge was shown beside
    max_new_tokens: int  # of an answer, at most
    rows: tuple[Judged | None, ...]  # one a row of the table
    before: Judged | None  # of the starting checkpoint


class ChatTable(Record):
    """Runs on the same conversations whose losses are over the same tokens."""

    table: Table  # of one column
    trained_shares: tuple[float | None, ...]  # of all parameters, those that a step may move; one a row
    before: float | None  # the starting checkpoint's loss
    judges: tuple[Judge, ...]
    significance: Significance | None  # None: nothing to compare with SparseGrad
