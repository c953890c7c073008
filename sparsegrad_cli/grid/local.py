"""The engine of one machine: a pool of processes, each with a GPU or a share of the cores."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from queue import Queue
from types import TracebackType
from typing import IO

import pydantic

from ..processes import stop_all, surroundings
from .engine import Event, Lost
from .work import Ended, Job, Progress

TOLD = pydantic.TypeAdapter(Progress | Ended)


@dataclass
class Member:
    """A worker: its process, and the cell that it is at."""

    number: int
    process: subprocess.Popen[str]
    said: IO[bytes]  # its standard error
    job: Job | None = None


@dataclass(frozen=True)
class _Line:
    member: Member
    text: str | None  # None: the worker is gone


@dataclass
class LocalEngine:
    """See `Engine`.

    Args:
        workers: processes.
        device: "cpu" or "cuda".
    """

    workers: int
    device: str
    _members: dict[int, Member] = field(default_factory=dict)
    _lines: Queue[_Line] = field(default_factory=Queue)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stop_all([member.process for member in self._members.values()])

    def free(self) -> list[int]:
        busy = {number for number, member in self._members.items() if member.job is not None}
        return [number for number in range(self.workers) if number not in busy]

    def give(self, worker: int, job: Job) -> None:
        member = self._members.get(worker)
        if member is None or member.process.poll() is not None:
            member = self._members[worker] = self._start(worker)
        member.job = job
        stdin = member.process.stdin
        assert stdin is not None
        try:
            stdin.write(job.model_dump_json() + "\n")
            stdin.flush()  # and left open: it closes when we die
        except BrokenPipeError:
            return  # it is gone, as `events` is about to tell

    def events(self, seconds: float) -> list[Event]:
        found: list[Event] = []
        wait = seconds
        while True:
            try:
                line = self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
            except queue.Empty:
                return found
            wait = 0.0
            member, job = line.member, line.member.job
            if job is None:
                continue
            if line.text is None:
                told: Progress | Ended | Lost = Lost(_how_it_ended(member))
            else:
                told = TOLD.validate_json(line.text)
            if not isinstance(told, Progress):
                member.job = None
            found.append(Event(member.number, job, told))

    def _start(self, number: int) -> Member:
        said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        process = subprocess.Popen(
            [sys.executable, "-m", "sparsegrad_cli.grid.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, **surroundings(number, self.workers, self.device)},
            text=True,
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
        member = Member(number, process, said)
        threading.Thread(target=self._listen, args=(member,), daemon=True).start()
        return member

    def _listen(self, member: Member) -> None:
        assert member.process.stdout is not None
        for text in member.process.stdout:
            self._lines.put(_Line(member, text))
        self._lines.put(_Line(member, None))


def _how_it_ended(member: Member) -> str:
    code = member.process.wait()
    member.said.seek(0)
    last_words = member.said.read().decode(errors="replace").strip().rpartition("\n")[2]
    if code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}" + (f" ({last_words})" if last_words else "")
