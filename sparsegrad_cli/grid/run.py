"""The cells of a grid, given to the workers of an engine until none is left."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ..errors import InputError, WorkError
from ..store.lock import is_locked
from .engine import Engine, Event, Lost
from .kinds import GridCell, Outcome, get_kind
from .kinds.base import TO_CONTINUE, TO_DO
from .work import Ended, Job, Progress

TRIES = 3  # of a cell whose workers die over it
LOOK_SECONDS = 0.5
BUSY_SECONDS = 5.0  # between two looks at a cell that another process does
MakeJob = Callable[[GridCell, str | None], Job]


class Board(Protocol):
    """Who wants to see a grid go on."""

    def begin(self, worker: int, cell: GridCell) -> None:
        """A worker takes up a cell."""

    def progress(self, worker: int, cell: GridCell, now: Progress) -> None:
        """It tells how far it is."""

    def end(self, worker: int, cell: GridCell, outcome: Outcome) -> None:
        """It is done with it."""

    def leave(self, worker: int, cell: GridCell, why: str) -> None:
        """It is not at it any more, though the cell is not done."""


def run_grid(
    cells: Sequence[GridCell], engine: Engine, make_job: MakeJob, results: Path, board: Board
) -> dict[str, Outcome]:
    """Does every cell; one that fails does not stop the others, a full disk does.

    A cell whose worker dies is taken up again from its last checkpoint; the third time it is recorded as
    failed. A cell that another process does is waited for, and done here if that leaves it unfinished.

    Args:
        make_job: what a worker is given for a cell; and, for one that is to be given up, the reason.
        board: is shown what happens.

    Returns:
        What became of each, by id.

    Raises:
        WorkError, InputError: no cell can be done any more; what is done stays.
    """
    queue = _Queue(cells, results)
    with engine:
        while queue.left:
            for worker in engine.free():
                cell = queue.next()
                if cell is None:
                    break
                ended = queue.ended_elsewhere(cell)
                if ended is not None:
                    queue.settle(cell, ended)
                    board.end(worker, cell, ended)
                    continue
                board.begin(worker, cell)
                engine.give(worker, make_job(cell, queue.reason_to_give_up(cell)))
            for event in engine.events(LOOK_SECONDS):
                _heed(event, queue, board)
    return queue.outcomes


class _Queue:
    """The cells that are left: waiting, at work, or done by another process."""

    def __init__(self, cells: Sequence[GridCell], results: Path) -> None:
        self._waiting = deque(cells)
        self._results = results
        self._stood = {cell.id: self._status(cell) for cell in cells}
        self._elsewhere: deque[tuple[float, GridCell]] = deque()  # when to look again, at which
        self._at_work: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._last_death: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}

    @property
    def left(self) -> bool:
        return bool(self._waiting or self._elsewhere or self._at_work)

    def next(self) -> GridCell | None:
        """A cell that can be done now."""
        while self._elsewhere and self._elsewhere[0][0] <= time.monotonic():
            self._waiting.append(self._elsewhere.popleft()[1])
        while self._waiting:
            cell = self._waiting.popleft()
            if is_locked(get_kind(cell.kind).folder(cell, self._results)):
                self.put_off(cell)
                continue
            self._at_work.add(cell.id)
            return cell
        return None

    def ended_elsewhere(self, cell: GridCell) -> Outcome | None:
        """What another process has made of it since we began."""
        status = self._status(cell)
        if status in (TO_DO, TO_CONTINUE, self._stood[cell.id]):
            return None
        return Outcome(status=status, error="another process did it")

    def _status(self, cell: GridCell) -> str:
        return get_kind(cell.kind).status(cell, self._results)

    def put_off(self, cell: GridCell) -> None:
        """Another process does it."""
        self._at_work.discard(cell.id)
        self._elsewhere.append((time.monotonic() + BUSY_SECONDS, cell))

    def take_back(self, cell: GridCell, how: str) -> None:
        """A worker died over it."""
        self._at_work.discard(cell.id)
        self._deaths[cell.id] += 1
        self._last_death[cell.id] = how
        self._waiting.appendleft(cell)

    def reason_to_give_up(self, cell: GridCell) -> str | None:
        """Why it is not tried once more."""
        if self._deaths[cell.id] < TRIES:
            return None
        return f"{self._deaths[cell.id]} workers died over it; the last one {self._last_death[cell.id]}"

    def settle(self, cell: GridCell, outcome: Outcome) -> None:
        self._at_work.discard(cell.id)
        self.outcomes[cell.id] = outcome


def _heed(event: Event, queue: _Queue, board: Board) -> None:
    worker, cell = event.worker, event.job.cell
    match event.told:
        case Progress() as now:
            board.progress(worker, cell, now)
        case Lost() if event.job.give_up is not None:  # not even that could be recorded
            outcome = Outcome(status="failed", error=event.job.give_up)
            queue.settle(cell, outcome)
            board.end(worker, cell, outcome)
        case Lost(how):
            board.leave(worker, cell, f"its worker {how}")
            queue.take_back(cell, how)
        case Ended(stop=str(why), wrong_input=wrong):
            raise InputError(why) if wrong else WorkError(why)
        case Ended(busy=True):
            board.leave(worker, cell, "another process does it")
            queue.put_off(cell)
        case Ended(outcome=Outcome() as outcome):
            queue.settle(cell, outcome)
            board.end(worker, cell, outcome)
