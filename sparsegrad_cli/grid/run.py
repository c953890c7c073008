"""The cells of an experiment: planned, and given to workers until none is left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from ..config import ExecutionOptions
from ..errors import InputError, WorkError, unknown
from ..progress import Progress, ProgressState
from ..settings import Record
from ..store.io import BusyError, is_locked
from ..workers import Died, Failed, Finished, Message, Pool
from .experiment import ReadExperiment, expand_grid
from .kinds import DONE, KINDS, TO_CONTINUE, TO_DO, GridCell, Outcome

LOOK_SECONDS = 0.5
BUSY_SECONDS = 5.0  # between two looks at a cell that another process does


@dataclass(frozen=True)
class CellFilter:
    """Which part of an experiment to run; an empty field: all of it."""

    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    where: tuple[str, ...] = ()  # settings as `density=0.01`; several values of one setting: any of them

    def select(self, cells: list[GridCell]) -> list[GridCell]:
        """Returns the cells that have the settings of `where`.

        Raises:
            InputError: one is not written so, is no setting of these cells, or none has its value.
        """
        asked: dict[str, list[str]] = {}
        for words in self.where:
            option, is_given, value = words.partition("=")
            if not is_given:
                raise InputError(f"--where {words}: write it as a setting and its value: density=0.01")
            asked.setdefault(option.removeprefix("--").replace("_", "-"), []).append(value)
        known = {key.replace("_", "-") for cell in cells for key in cell.config}
        for option, values in asked.items():
            if option not in known:
                raise InputError(f"--where: {unknown('setting', option, sorted(known))}")
            name = option.replace("-", "_")
            there = {str(cell.config.get(name)) for cell in cells}
            cells = [c for c in cells if any(_is_value(c.config.get(name), value) for value in values)]
            if not cells:
                raise InputError(f"--where {option}={values[0]}: there is {', '.join(sorted(there))}")
        return cells


def _is_value(value: JsonValue, text: str) -> bool:
    """Returns whether a setting has the value that `text` says: 3e-4 is 0.0003."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value).lower() == text.lower()


def plan_cells(
    read: ReadExperiment,
    part: CellFilter,
    data: str | None,
    device: str | None,
    shapes_only: bool = False,
) -> list[GridCell]:
    """Returns the cells in the order in which they are done: seed by seed, so that a table is there early.

    Args:
        part: its seeds replace the experiment's; its other names must be in the experiment.
        data, device: in place of the experiment's.
        shapes_only: see `Kind.cells`.

    Raises:
        InputError: anything that is wrong; with the line where it is a setting.
    """
    experiment, kind = read.experiment, KINDS[read.experiment.kind]
    changed: dict[str, object] = {} if data is None else {"data": data}
    for axis in ("models", "tasks", "methods"):
        known = getattr(experiment, axis)
        for name in getattr(part, axis):
            if name not in known:
                raise InputError(f"--{axis[:-1]}: {unknown(f'{axis[:-1]} in {read.path}', name, known)}")
    if part.seeds and "seeds" not in kind.takes:
        raise InputError(f"--seed: {kind.name} has no use for seeds: leave it out")
    axes = ("models", "tasks", "methods", "seeds")
    changed |= {axis: getattr(part, axis) for axis in axes if getattr(part, axis)}
    found: dict[str, GridCell] = {}
    for point in expand_grid(experiment.model_copy(update=changed), kind.axes):
        try:
            cells = kind.cells(point, kind.given(point, device), shapes_only)
        except InputError as error:
            raise InputError(read.about(f"{point}: {error}")) from None
        for cell in cells:
            varied = [
                f"{n.replace('_', '-')} {v}" for n, v in point.varied.items() if cell.config.get(n) == v
            ]
            found.setdefault(cell.id, cell.model_copy(update={"variant": ", ".join(varied)}))
    return sorted(part.select([*found.values()]), key=lambda cell: cell.seed or 0)


def read_status(cell: GridCell, results: Path) -> str:
    """Returns DONE, TO_DO, TO_CONTINUE or the status that the cell ended with, as its folder says."""
    return KINDS[cell.kind].status(cell, results)


def is_due(status: str, retry: Collection[str]) -> bool:
    """Returns whether a cell is to be done now.

    Args:
        retry: statuses of cells to be done again; "failed" stands for all that ended without a score.
    """
    if status in (TO_DO, TO_CONTINUE):
        return True
    return status != DONE and ("failed" in retry or status in retry)


class CellJob(Record):
    """A cell that a worker is to do."""

    cell: GridCell
    results: str  # the results folder
    options: ExecutionOptions


class CellReply(Record):
    """The answer of a worker."""

    outcome: Outcome | None  # None: another process does the cell


def do_cell(job: CellJob, progress: Progress) -> CellReply:
    """Do a cell, or the rest of it; a job function of the workers.

    Raises:
        DiskError: no file can be written.
        InputError, WorkError: this cell cannot be done.
    """
    from ..training.inputs import quiet_libraries

    quiet_libraries(downloads=False)
    try:
        outcome = KINDS[job.cell.kind].do(job.cell, Path(job.results), progress, job.options)
        return CellReply(outcome=outcome)
    except BusyError:
        return CellReply(outcome=None)


class GridProgress(Protocol):
    """Callbacks of a grid."""

    def begin(self, worker: int, cell: GridCell) -> None:
        """A worker begins a cell."""

    def show(self, worker: int, cell: GridCell, state: ProgressState) -> None:
        """A worker reports how far it is."""

    def leave(self, worker: int, cell: GridCell, why: str) -> None:
        """A worker leaves a cell that is not done."""

    def end(self, worker: int, cell: GridCell, outcome: Outcome) -> None:
        """A cell has ended."""


def run_grid(
    cells: Sequence[GridCell],
    statuses: Mapping[str, str],
    pool: Pool,
    results: Path,
    options: ExecutionOptions,
    progress: GridProgress,
) -> dict[str, Outcome]:
    """Do every cell; one that fails does not stop the others, a full disk does.

    A cell whose worker dies goes on from its last checkpoint; one that kills several workers is recorded as
    failed. A cell that another process does is waited for, and done here if that leaves it unfinished.

    Args:
        statuses: of the cells, as `read_status` gave them when the command began.

    Returns:
        The outcome of each cell, by id.

    Raises:
        WorkError: no cell can be done any more; what is done stays.
    """
    queue = _Queue(cells, statuses, results)
    at_work: dict[int, GridCell] = {}
    with pool:
        while queue.waiting or queue.elsewhere or at_work:
            for worker in pool.idle():
                cell = queue.next()
                if cell is None:
                    break
                ended = queue.ended_elsewhere(cell)
                if ended is not None:
                    queue.outcomes[cell.id] = ended
                    progress.end(worker, cell, ended)
                    continue
                at_work[worker] = cell
                progress.begin(worker, cell)
                pool.submit(worker, do_cell, CellJob(cell=cell, results=str(results), options=options))
            for event in pool.events(LOOK_SECONDS):
                worker, message, cell = event.worker, event.message, at_work[event.worker]
                if isinstance(message, ProgressState):
                    progress.show(worker, cell, message)
                    continue
                if isinstance(message, Died) and message.again:
                    progress.leave(worker, cell, f"its worker {message.how}; it goes on with a new one")
                    progress.begin(worker, cell)
                    continue
                del at_work[worker]
                outcome = _outcome(message, cell, results)
                if outcome is None:
                    progress.leave(worker, cell, "another process does it; it waits for its turn")
                    queue.put_off(cell)
                else:
                    queue.outcomes[cell.id] = outcome
                    progress.end(worker, cell, outcome)
    return queue.outcomes


class _Queue:
    """The cells that are left: waiting, or done by another process."""

    def __init__(self, cells: Sequence[GridCell], statuses: Mapping[str, str], results: Path) -> None:
        self.waiting = deque(cells)
        self.elsewhere: deque[tuple[float, GridCell]] = deque()  # when to look again, at which
        self.outcomes: dict[str, Outcome] = {}
        self._statuses, self._results = statuses, results

    def next(self) -> GridCell | None:
        """Returns a cell that can be done now."""
        while self.elsewhere and self.elsewhere[0][0] <= time.monotonic():
            self.waiting.append(self.elsewhere.popleft()[1])
        while self.waiting:
            cell = self.waiting.popleft()
            if not is_locked(KINDS[cell.kind].folder(cell, self._results)):
                return cell
            self.put_off(cell)
        return None

    def put_off(self, cell: GridCell) -> None:
        """Look at a cell again later: another process does it."""
        self.elsewhere.append((time.monotonic() + BUSY_SECONDS, cell))

    def ended_elsewhere(self, cell: GridCell) -> Outcome | None:
        """Returns what another process has made of a cell since the command began."""
        status = read_status(cell, self._results)
        if status in (TO_DO, TO_CONTINUE, self._statuses[cell.id]):
            return None
        return Outcome.model_validate({"status": status, "error": "another process did it"})


def _outcome(message: Message, cell: GridCell, results: Path) -> Outcome | None:
    """Returns what became of a cell; None if another process does it.

    Raises:
        WorkError: the disk is full.
    """
    match message:
        case Finished(value=CellReply(outcome=outcome)):
            return outcome
        case Failed(reason="disk", error=error):
            raise WorkError(error)
        case Failed(error=error):
            return _record_failure(cell, results, error)
        case Died(how=how):
            return _record_failure(cell, results, f"every worker that tried it died; the last one {how}")
    raise TypeError(type(message).__name__)


def _record_failure(cell: GridCell, results: Path, error: str) -> Outcome | None:
    try:
        return KINDS[cell.kind].record_failure(cell, results, error)
    except BusyError:
        return None
    except (InputError, WorkError) as second:
        error = f"{error}; which cannot be recorded: {second}"
    return Outcome(status="failed", error=error)
