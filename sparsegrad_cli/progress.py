"""Progress of a piece of work: the protocol that training calls, and its state as a record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict


class Progress(Protocol):
    """Callbacks of a piece of work that has phases, steps and, in training, evaluations."""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Begin a phase, such as "train", of `total` steps, splits or rows, `done` of them done."""

    def step(self, done: int, loss: float | None = None) -> None:
        """Report that `done` steps of the phase are done."""

    def evaluated(self, metric: str, value: float, best: float) -> None:
        """Report the value of an evaluation, and the best so far, this one included.

        Raises:
            PrunedError: to end a training run here.
        """


class NoProgress:
    """A `Progress` that shows nothing."""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Does nothing."""

    def step(self, done: int, loss: float | None = None) -> None:
        """Does nothing."""

    def evaluated(self, metric: str, value: float, best: float) -> None:
        """Does nothing."""


class ProgressState(BaseModel):
    """The state of a piece of work."""

    model_config = ConfigDict(defer_build=True)

    what: Literal["progress"] = "progress"
    phase: str = "load"
    done: int = 0
    total: int = 0
    loss: float | None = None
    metric: str | None = None  # of the two values below
    score: float | None = None  # of the latest evaluation
    best: float | None = None


class ProgressTracker:
    """A `Progress` that holds its latest state; a subclass may pass each state on by `changed`."""

    def __init__(self) -> None:
        self.state = ProgressState()

    def phase(self, name: str, total: int, done: int = 0) -> None:
        state = ProgressState(phase=name, done=done, total=total)
        if name == "score":  # the last phase of a run: its best evaluation stays in view
            state.metric, state.best = self.state.metric, self.state.best
        self.state = state
        self.changed(is_step=False)

    def step(self, done: int, loss: float | None = None) -> None:
        self.state = self.state.model_copy(update={"done": done, "loss": loss})
        self.changed(is_step=True)

    def evaluated(self, metric: str, value: float, best: float) -> None:
        self.state = self.state.model_copy(update={"metric": metric, "score": value, "best": best})
        self.changed(is_step=False)

    def changed(self, is_step: bool) -> None:
        """Called after every change; `is_step`: it was only one more step."""


class ReportedProgress(ProgressTracker):
    """Hands its states to `report`; single steps not more often than every `seconds`."""

    def __init__(self, report: Callable[[ProgressState], None], seconds: float) -> None:
        super().__init__()
        self._report, self._seconds = report, seconds
        self._reported = 0.0

    def changed(self, is_step: bool) -> None:
        if not is_step or time.monotonic() - self._reported >= self._seconds:
            self._reported = time.monotonic()
            self._report(self.state)
