"""What a worker is asked and what it tells: JSON lines, the same for every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..errors import InputError, WorkError
from ..store.io import redact
from ..store.lock import BusyError
from ..store.schema import Record
from ..training.callbacks import Watch
from .kinds import GridCell, How, Outcome, get_kind
from .kinds.base import Recording


class Job(Record):
    """A cell to be done."""

    cell: GridCell
    results: str  # the results folder
    checkpoint_seconds: float
    keep_model: bool
    accumulate_on_oom: bool
    predict_test: bool
    command: tuple[str, ...]  # what the user typed
    give_up: str | None = None  # do not try any more, record this error instead

    @property
    def how(self) -> How:
        return How(self.checkpoint_seconds, self.keep_model, self.accumulate_on_oom, self.predict_test)


class Progress(Record):
    """How far a cell is."""

    what: Literal["progress"] = "progress"
    phase: str
    done: int
    total: int
    loss: float | None = None
    score: float | None = None  # the latest evaluation
    best: float | None = None
    metric: str | None = None  # of these two


class Sight:
    """A `Watch` that knows how far its cell is."""

    def __init__(self) -> None:
        self.now = Progress(phase="load", done=0, total=0)

    def phase(self, name: str, total: int) -> None:
        kept = self.now.model_dump(include={"best", "metric"}) if name == "score" else {}
        self.see(Progress(phase=name, done=0, total=total, **kept), is_news=True)

    def step(self, done: int, loss: float | None = None) -> None:
        self.see(self.now.model_copy(update={"done": done, "loss": loss}), is_news=False)

    def evaluated(self, metric: str, value: float, best: float) -> None:
        self.see(self.now.model_copy(update={"score": value, "best": best, "metric": metric}), is_news=True)

    def see(self, now: Progress, is_news: bool) -> None:
        """Takes note; `is_news`: more than one step further."""
        self.now = now


class Ended(Record):
    """A cell has come to something, or cannot be done by this worker now."""

    what: Literal["ended"] = "ended"
    outcome: Outcome | None = None
    busy: bool = False  # another process does it
    stop: str | None = None  # why no other cell can be done either, such as a full disk
    wrong_input: bool = False  # of `stop`: bad input, not failed work


def do(job: Job, watch: Watch) -> Ended:
    """Does a cell; what goes wrong is in the answer."""
    kind = get_kind(job.cell.kind)
    results = Path(job.results)
    try:
        if job.give_up is not None:
            given_up = Outcome(status="failed", error=job.give_up)
            if isinstance(kind, Recording):
                given_up = kind.give_up(job.cell, results, job.give_up)
            return Ended(outcome=given_up)
        return Ended(outcome=kind.do(job.cell, results, watch, job.how))
    except BusyError:
        return Ended(busy=True)
    except InputError as error:
        return Ended(stop=redact(str(error)), wrong_input=True)
    except WorkError as error:
        return Ended(stop=redact(str(error)))
    except Exception as error:  # a mistake of ours: the other cells go on, and this one says what it was
        return Ended(outcome=Outcome(status="failed", error=redact(f"{type(error).__name__}: {error}")))
