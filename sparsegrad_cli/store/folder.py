"""The folder of one piece of work, `<results>/<place>/<id>/`: the same for runs, benches, sweeps and others.

The id is the hash of what decides the numbers, so equal work has one folder and is never done twice. A
process locks the folder, begins (`config.json`, `environment.json`), works, and finishes (`result.json`,
last). Each file is whole or not there, and each can be read again. `find_results` and `read_all` find such
folders wherever they lie.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic

import pydantic
from pydantic import JsonValue

from ..config import RunConfig
from ..errors import InputError, UnreadableResultWarning, WorkError
from ..settings import Record, config_id
from .io import TEMPORARY, lock, write_error, write_text
from .records import (
    TEST_PREDICTIONS,
    C,
    CountConfig,
    CountResult,
    Environment,
    R,
    Result,
    StoredResult,
    first_problem,
    read_record,
)

FILES = {"config.json", "environment.json", "result.json"}  # one of them makes a folder one of ours


@dataclass(frozen=True)
class ResultKind(Generic[C, R]):
    """What the folders of one kind of work have in common."""

    place: str  # the folder in a results folder that holds them, such as "runs"
    config: type[C]
    result: type[R]
    mark: tuple[str, JsonValue]  # a key of `config.json` that this kind alone has, and its value; None: any
    remedy: str  # what to do about a folder that cannot be read
    stale: tuple[str, ...] = ()  # files that `begin` drops with an earlier result
    has_environment: bool = True
    id_of: Callable[[C], str] = config_id  # the id of a configuration

    def folder(self, results: Path, config: C) -> ResultFolder[C, R]:
        """Returns the folder of `config` in a results folder, which need not exist yet."""
        return ResultFolder(self, results / self.place / self.id_of(config), config)

    def owns(self, folder: Path) -> bool:
        """Returns whether a folder is of this kind: by its `config.json`, or by its place if that is bad."""
        key, value = self.mark
        try:
            found = json.loads((folder / "config.json").read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, LookupError, TypeError):
            return folder.parent.name == self.place
        return value is None or found == value


class ResultFolder(Generic[C, R]):
    """The folder of one configuration, wherever it lies and however far it got.

    Args:
        config: what the folder is, or will be, about; None: what its `config.json` says.
    """

    def __init__(self, kind: ResultKind[C, R], path: Path, config: C | None = None) -> None:
        self.kind, self.path, self._config = kind, path, config

    @cached_property
    def config(self) -> C:
        return self._config or read_record(self.kind.config, self.path / "config.json", self.kind.remedy)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def result(self) -> R | None:
        """Returns what the work came to; None while there is no result.

        Raises:
            InputError: the file is no result, or the result of another configuration.
        """
        path = self.path / "result.json"
        if not path.exists():
            return None
        result = read_record(self.kind.result, path, self.kind.remedy)
        if result.id not in (self.path.name, self.kind.id_of(self.config)):
            raise InputError(f"{path}: this is the result of {result.id}, config.json beside it is another's")
        return result

    def is_done(self) -> bool:
        """Returns whether the work is done, so that it is never done again."""
        result = self.result()
        return result is not None and result.is_done

    def environment(self) -> Environment | None:
        """Returns what the work last ran on; None if it never began."""
        path = self.path / "environment.json"
        return read_record(Environment, path, self.kind.remedy) if path.exists() else None

    def read(self) -> StoredResult[C, R]:
        """Returns all records of finished work.

        Raises:
            InputError: one is missing or not what it should be.
        """
        result = self.result()
        if result is None:
            raise InputError(f"{self.path}: it has no result yet")
        path = self.path / "environment.json"
        recorded = read_record(Environment, path, self.kind.remedy) if self.kind.has_environment else None
        return StoredResult(self.path, self.config, result, recorded)

    def lock(self, timeout: float = 0) -> AbstractContextManager[None]:
        """Lock the folder; see `io.lock`."""
        return lock(self.path, timeout)

    def begin(self, environment: Environment) -> None:
        """Record what is about to be done, and on what; drop what an earlier attempt came to.

        The caller holds the lock.
        """
        leftovers = [*self.path.glob(TEMPORARY), *(self.path / name for name in self.kind.stale)]
        try:
            for path in (self.path / "result.json", *leftovers):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from None
        self.write("config.json", self.config)
        self.write("environment.json", environment)

    def finish(self, result: R, keep_checkpoints: bool = False) -> None:
        """Write the result; the checkpoints go, unless the work may still be resumed."""
        self.write("result.json", result)
        if not keep_checkpoints:
            self.drop_checkpoints()

    def write(self, name: str, record: Record) -> None:
        """Write a record as JSON.

        Raises:
            WorkError: the file cannot be written, or could not be read again.
        """
        text = record.model_dump_json(indent=2) + "\n"
        try:
            type(record).model_validate_json(text)
            write_text(self.path / name, text)
        except pydantic.ValidationError as error:
            raise WorkError(f"{self.path / name}: not written ({first_problem(error)})") from None
        except OSError as error:
            raise write_error(self.path, error) from None

    def last_checkpoint(self) -> Path | None:
        """Returns the latest checkpoint that was written whole, and deletes those after it.

        The trainer's state is the last file of each.
        """
        by_step = sorted(
            self.checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
        )
        for path in reversed(by_step):
            try:
                json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
                return path
            except (FileNotFoundError, ValueError):
                shutil.rmtree(path)
        return None

    def drop_checkpoints(self) -> None:
        """Delete the checkpoints: the work would begin at its start."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)


RunFolder = ResultFolder[RunConfig, Result]
RUNS = ResultKind(
    "runs", RunConfig, Result, ("protocol", None), "delete the folder to run it again", (TEST_PREDICTIONS,)
)
COUNTS = ResultKind(
    "parameters",
    CountConfig,
    CountResult,
    ("parameters", 1),
    "delete the folder to count again",
    has_environment=False,
)


def find_results(kind: ResultKind[C, R], folders: Sequence[Path]) -> list[ResultFolder[C, R]]:
    """Returns the folders of a kind, finished or not, each once.

    Args:
        folders: results folders, any folders above them, or single folders. Links are followed. What lies
            inside a folder of ours, such as the runs of a sweep, is not looked at.

    Raises:
        InputError: one of `folders` is missing or cannot be read.
    """
    seen: set[Path] = set()
    return [ResultFolder(kind, path) for folder in folders for path in _walk(folder, seen) if kind.owns(path)]


def read_all(kind: ResultKind[C, R], folders: Sequence[Path]) -> tuple[StoredResult[C, R], ...]:
    """Returns every finished result of a kind; see `find_results` for the folders.

    A folder that cannot be read is named in an `UnreadableResultWarning` and left out.
    """
    found = []
    for folder in find_results(kind, folders):
        try:
            if (folder.path / "result.json").is_file():
                found.append(folder.read())
        except InputError as error:
            warn_left_out(error)
    return tuple(found)


def warn_left_out(error: InputError) -> None:
    """Name a folder that is left out; the command line shows it as one line on stderr."""
    warnings.warn(f"left out: {error}", UnreadableResultWarning, stacklevel=2)


def _walk(folder: Path, seen: set[Path], is_given: bool = True) -> Iterator[Path]:
    """Yields the folders of ours at or below `folder`, never in a circle."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such folder" if missing else f"cannot be read as a folder ({error.strerror})"
        problem = InputError(f"{folder}: {reason}")
        if is_given:
            raise problem from None
        warn_left_out(problem)
        return
    if FILES & {entry.name for entry in entries}:
        yield folder
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _walk(folder / entry.name, seen, is_given=False)
