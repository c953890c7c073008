"""What a kind of experiment is: how its cells are planned, how they stand, how one is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import JsonValue

from ...config import RunConfig, check_given
from ...errors import InputError
from ...settings import Record, Setting
from ...store.find import warn_left_out
from ...store.folder import RUNS, ResultFolder
from ...store.records import Status
from ...training.callbacks import Watch
from ...training.resolve import Sources
from ..point import Point

DONE, TO_DO, TO_CONTINUE = "done", "to do", "to continue"


class GridCell(Record):
    """The smallest thing that is done, or not; equal ids are the same work."""

    id: str
    kind: str
    model: str
    task: str | None = None
    method: str | None = None
    seed: int | None = None
    variant: str = ""  # settings that tell it from others of the experiment, in words
    options: dict[str, JsonValue]  # from which a worker does it

    def __str__(self) -> str:
        seed = None if self.seed is None else f"seed {self.seed}"
        words = [self.model, self.task, self.method, self.variant, seed]
        return " ".join(word for word in words if word)


class Outcome(Record):
    """What became of a cell."""

    status: Status
    error: str | None = None
    score_name: str | None = None
    score: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class How:
    """What changes no number of a cell."""

    checkpoint_seconds: float = 600.0
    keep_model: bool = False
    accumulate_on_oom: bool = False
    predict_test: bool = False


class Kind(Protocol):
    """Implemented by every file of this package."""

    settings: Mapping[str, Setting]  # that an experiment may give
    axes: frozenset[str]  # "task", "method": whether a cell is of a single one
    takes: frozenset[str]  # "tasks", "methods", "seeds": keys that an experiment may have
    needs: frozenset[str]  # those that it must
    alone: bool  # whether another worker's work would spoil what is measured

    def cells(self, point: Point, device: str | None, from_shapes: bool = False) -> Sequence[GridCell]:
        """The cells at a point.

        Args:
            from_shapes: a model's directory without weights will do: nothing of it is to be done.

        Raises:
            InputError: model, data or settings are not what they should be.
        """

    def status(self, cell: GridCell, results: Path) -> str:
        """DONE, TO_DO, TO_CONTINUE, or the status that it ended with."""

    def folder(self, cell: GridCell, results: Path) -> Path:
        """Where its files are."""

    def do(self, cell: GridCell, results: Path, watch: Watch, how: How) -> Outcome:
        """Does a cell, or the rest of it.

        Raises:
            BusyError: another process does it.
            InputError, WorkError: it cannot be done.
        """


@runtime_checkable
class Estimable(Protocol):
    """A kind of which one can tell what a cell will take."""

    def planned(self, cell: GridCell) -> tuple[RunConfig, Sources]:
        """Returns the run of a cell, and what it starts from, without weights."""


@runtime_checkable
class Recording(Protocol):
    """A kind whose folder tells that a cell failed, so that it is not tried again unless asked."""

    def give_up(self, cell: GridCell, results: Path, error: str) -> Outcome:
        """Records that a cell came to nothing for a reason that it could not record itself."""


def status_of(folder: ResultFolder[Any, Any]) -> str:
    """Returns how a cell stands: DONE, TO_DO, TO_CONTINUE, or how its work ended.

    A cell whose result cannot be read is named in a warning and counts as failed.
    """
    try:
        result = folder.result()
    except InputError as error:
        warn_left_out(error)
        return "failed"
    if result is None:
        return TO_CONTINUE if folder.kind is RUNS and (folder.path / "config.json").exists() else TO_DO
    status = str(getattr(result, "status", DONE))
    return TO_CONTINUE if status == "interrupted" else status


def settings_at(kind: Kind, point: Point, device: str | None) -> dict[str, Any]:
    """The settings of a point, in their types.

    Raises:
        InputError: one is wrong.
    """
    given = {**point.settings, **({} if device is None else {"device": device})}
    try:
        return check_given(given, kind.settings)
    except InputError as error:
        raise InputError(f"{point}: {error}") from None
