"""What runs cells: workers on this machine, or on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from .work import Ended, Job, Progress


@dataclass(frozen=True)
class Lost:
    """A worker died over a cell."""

    how: str


@dataclass(frozen=True)
class Event:
    """What a worker has to tell of the cell that it is at."""

    worker: int
    job: Job
    told: Progress | Ended | Lost


class Engine(Protocol):
    """Workers, as a context: whatever ends it, none is left behind."""

    workers: int

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def free(self) -> list[int]:
        """Workers without a cell; one that has died is replaced.

        Raises:
            WorkError: none can be had any more.
        """

    def give(self, worker: int, job: Job) -> None:
        """Lets a free worker do a cell."""

    def events(self, seconds: float) -> list[Event]:
        """What was told since the last call; waits so long for something to be."""
