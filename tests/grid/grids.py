"""Helpers of the tests of grids: how an experiment is written, and pools without processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import yaml
from pydantic import BaseModel

from sparsegrad_cli.grid.kinds import GridCell, Outcome
from sparsegrad_cli.grid.run import CellJob, CellReply, do_cell
from sparsegrad_cli.progress import NoProgress, ProgressState
from sparsegrad_cli.workers import (
    Died,
    Event,
    Finished,
    JobFunction,
    Message,
    do_call,
    make_call,
    typed_command,
)

from ..checkpoints import tiny_checkpoint
from ..planned import write_cola

Document = dict[str, Any]  # as YAML gives it
Scored = dict[str, tuple[float, bytes]]  # of runs by id: score, predictions.parquet
Answer = Callable[[CellJob, int], Message]  # what becomes of a job that is given for the n-th time


def tiny_document(folder: Path) -> Document:
    """What the YAML of four runs says, each of a second; the model and the data are made in the folder."""
    return {
        "title": "A tiny grid",
        "models": [str(tiny_checkpoint(folder / "bert", "bert", layers=1))],
        "tasks": ["cola"],
        "methods": ["ft", "sparsegrad"],
        "seeds": [0, 1],
        "data": str(write_cola(folder / "glue")),
        "settings": {
            "max_steps": 40,
            "eval_steps": 8,
            "patience": 0,
            "batch_size": 8,
            "learning_rate": 3e-3,
            "length": 24,
            "density": 0.05,
            "calibration_steps": 3,
        },
    }


def writer(document: Document, folder: Path) -> Write:
    """Writes an experiment with other keys, or with other settings (None: without); gives its path."""

    def write(name: str = "tiny", settings: Document | None = None, **keys: object) -> Path:
        path = folder / f"{name}.yaml"
        merged = {**document["settings"], **(settings or {})}
        of_cells = {option: value for option, value in merged.items() if value is not None}
        path.write_text(yaml.safe_dump({**document, "settings": of_cells, **keys}, sort_keys=False))
        return path

    return write


class Write(Protocol):
    """See `writer`."""

    def __call__(self, name: str = ..., settings: Document | None = ..., **keys: object) -> Path: ...


@dataclass
class ScriptedPool:
    """A `Pool` that answers every job as it is told to."""

    answer: Answer
    workers: int = 2
    given: list[CellJob] = field(default_factory=list)
    is_open: bool = False
    _at_work: dict[int, CellJob] = field(default_factory=dict)

    def __enter__(self) -> ScriptedPool:
        self.is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_open = False

    def idle(self) -> list[int]:
        return [worker for worker in range(self.workers) if worker not in self._at_work]

    def submit(self, worker: int, function: JobFunction, job: BaseModel) -> None:
        assert function is do_cell
        assert isinstance(job, CellJob)
        assert worker not in self._at_work
        assert job.cell.id not in [other.cell.id for other in self._at_work.values()]
        self._at_work[worker] = job
        self.given.append(job)

    def events(self, seconds: float) -> list[Event]:
        found = []
        for worker, job in list(self._at_work.items()):
            message = self.answer(job, self.times(job.cell))
            goes_on = isinstance(message, ProgressState) or (isinstance(message, Died) and message.again)
            if not goes_on:
                del self._at_work[worker]
            found.append(Event(worker, message))
        return found

    def times(self, cell: GridCell) -> int:
        """How often a cell was given."""
        return sum(job.cell.id == cell.id for job in self.given)


def here(workers: int = 1) -> ScriptedPool:
    """A pool that does the cells in this process."""

    def answer(job: CellJob, n: int) -> Message:
        message = do_call(make_call(do_cell, job, typed_command()), NoProgress())
        if isinstance(message, Finished):
            message.value = CellReply.model_validate(message.value)
        return message

    return ScriptedPool(answer, workers)


def ended(**keys: Any) -> Finished:
    """The answer of a worker whose cell has ended."""
    return Finished(value=CellReply(outcome=Outcome(**keys)))


def done(job: CellJob, n: int = 1) -> Finished:
    return ended(status="done", score=0.5)


@dataclass
class Seen:
    """A `GridProgress` that remembers."""

    begun: list[str] = field(default_factory=list)
    ended: dict[str, Outcome] = field(default_factory=dict)
    left: list[tuple[str, str]] = field(default_factory=list)
    states: list[ProgressState] = field(default_factory=list)

    def begin(self, worker: int, cell: GridCell) -> None:
        self.begun.append(cell.id)

    def show(self, worker: int, cell: GridCell, state: ProgressState) -> None:
        self.states.append(state)

    def end(self, worker: int, cell: GridCell, outcome: Outcome) -> None:
        assert cell.id not in self.ended
        self.ended[cell.id] = outcome

    def leave(self, worker: int, cell: GridCell, why: str) -> None:
        self.left.append((cell.id, why))


def scores(results: Path) -> Scored:
    """All that must not depend on who did the runs and how often they were stopped."""
    found = {}
    for folder in (results / "runs").iterdir():
        result = json.loads((folder / "result.json").read_text())
        assert result["status"] == "done", result
        found[folder.name] = (result["score"], (folder / "predictions.parquet").read_bytes())
    return found


def restarts(results: Path) -> list[int]:
    """How often each run was taken up again, in ascending order."""
    files = (results / "runs").glob("*/environment.json")
    return sorted(json.loads(file.read_text())["restarts"] for file in files)


def cells_named(names: Iterable[str], kind: str = "finetune") -> list[GridCell]:
    """Cells that no worker of ours could do."""
    return [GridCell(id=name, kind=kind, model=name, config={}) for name in names]
