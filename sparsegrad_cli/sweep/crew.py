"""The worker processes of one machine: started, looked after, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO

from ..processes import stop_all, surroundings
from .jobs import Job, worker_name

RESTARTS = 2  # of each worker that a signal killed
Tell = Callable[[str], None]


@dataclass
class Member:
    """A worker of the crew."""

    job: Job
    environment: dict[str, str]  # besides our own
    said: IO[bytes] = field(default_factory=tempfile.TemporaryFile)  # its standard error
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    error: str | None = None  # why it is not there any more


class Crew:
    """Workers, as a context: whatever ends it, none is left behind.

    Args:
        jobs: one a worker.
        device: "cpu" or "cuda"; workers share the cores, or have a GPU each (in turn, where there are fewer).
        tell: is told a line when something happens to a worker.
    """

    def __init__(self, jobs: Sequence[Job], device: str, tell: Tell) -> None:
        self._members = [
            Member(job, surroundings(place, len(jobs), device)) for place, job in enumerate(jobs)
        ]
        self._tell = tell

    def __enter__(self) -> Crew:
        for member in self._members:
            _start(member)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def look_after(self) -> list[str]:
        """Starts workers again that a signal killed, such as the system's for want of memory.

        Returns:
            The names of workers that died since the last look, however they did.
        """
        dead = []
        for number, member in enumerate(self._members, 1):
            if member.process is None or member.process.poll() is None:
                continue
            code, last_words = member.process.returncode, _last_words(member)
            name = worker_name(member.process.pid)
            member.process = None
            if code == 0:
                continue
            dead.append(name)
            ended = f"ended: {last_words}" if last_words else f"ended with exit code {code}"
            how = f"was killed by signal {-code}" if code < 0 else ended
            if code < 0 and member.restarts < RESTARTS:
                member.restarts += 1
                self._tell(f"worker {number} {how}; started again")
                _start(member)
            else:
                member.error = how
                self._tell(f"worker {number} {how}")
        return dead

    @property
    def at_work(self) -> int:
        """Workers that are there."""
        return sum(member.process is not None for member in self._members)

    @property
    def error(self) -> str | None:
        """Why the last of those that failed did."""
        return next((member.error for member in reversed(self._members) if member.error), None)

    def stop(self) -> None:
        """Lets every worker put its trial back into the queue; one that does not end in time is killed."""
        stop_all([member.process for member in self._members if member.process is not None])


def _start(member: Member) -> None:
    member.process = subprocess.Popen(
        [sys.executable, "-m", "sparsegrad_cli.sweep.worker"],
        stdin=subprocess.PIPE,
        stdout=member.said,
        stderr=member.said,
        env={**os.environ, **member.environment},
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )
    assert member.process.stdin is not None
    member.process.stdin.write(member.job.model_dump_json().encode() + b"\n")
    member.process.stdin.flush()  # and left open: it closes when we die


def _last_words(member: Member) -> str:
    member.said.seek(0)
    return member.said.read().decode(errors="replace").strip().rpartition("\n")[2]
