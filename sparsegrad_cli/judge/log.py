"""Files that grow by a line at a time, and survive a kill between or within lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import pydantic

from ..errors import InputError, WorkError
from ..store.schema import Record

Kind = TypeVar("Kind", bound=Record)


class Log(Generic[Kind]):
    """Records of one kind, a line of JSON each.

    Args:
        path: the file; it need not be there.
        kind: of the records.
    """

    def __init__(self, path: Path, kind: type[Kind]) -> None:
        self.path, self._kind = path, kind

    def read(self) -> list[Kind]:
        """What is there; a last line that a kill cut short is not.

        Raises:
            InputError: a line is something else; names it.
        """
        records = []
        for number, line in enumerate(self._whole().splitlines(), 1):
            try:
                records.append(self._kind.model_validate_json(line))
            except pydantic.ValidationError as error:
                raise InputError(
                    f"{self.path}:{number}: not one that sparsegrad wrote ({error.errors()[0]['msg']}); take "
                    "the line away"
                ) from None
        return records

    @contextmanager
    def appending(self) -> Iterator[Callable[[Kind], None]]:
        """Gives what adds a record, from any thread; a line that was cut short goes first.

        Raises:
            WorkError: the file cannot be written.
        """
        lock = Lock()
        with self._only_work_errors():
            whole = len(self._whole())
            file = self.path.open("ab")
            file.truncate(whole)

        def append(record: Kind) -> None:
            with lock, self._only_work_errors():
                file.write(record.model_dump_json().encode() + b"\n")
                file.flush()

        with file:
            yield append

    def _whole(self) -> bytes:
        data = self.path.read_bytes() if self.path.exists() else b""
        return data[: data.rfind(b"\n") + 1]

    @contextmanager
    def _only_work_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkError(f"cannot write to {self.path}: {error.strerror}; see --output") from None
