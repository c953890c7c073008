"""A process that does the cells that it is given on its standard input, one JSON line each.

It tells how it gets on by JSON lines on its standard output, and stops as by Ctrl-C when its input is closed,
as it is when its parent dies.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from queue import Queue
from typing import TextIO

from ..training.inputs import quiet_libraries
from .work import Ended, Job, Progress, Sight, do

STOPPED = 130
TELL_SECONDS = 0.5  # between two reports of progress


class Telling(Sight):
    """Writes what it sees as `Progress` lines, plain steps not too often."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._told = 0.0

    def see(self, now: Progress, is_news: bool) -> None:
        super().see(now, is_news)
        if is_news or time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            write_line(self._out, now)


def write_line(out: TextIO, told: Progress | Ended) -> None:
    """One JSON line, at once."""
    out.write(told.model_dump_json() + "\n")
    out.flush()


def main() -> None:
    """Does what it is given until there is no more."""
    out = _own_stdout()
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    given: Queue[str] = Queue()
    threading.Thread(target=_listen, args=(given,), daemon=True).start()
    quiet_libraries(downloads=False)
    try:
        while True:
            job = Job.model_validate_json(given.get())
            sys.argv = list(job.command)  # what `environment.json` tells
            write_line(out, do(job, Telling(out)))
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(STOPPED)  # without waiting for threads that libraries left


def _own_stdout() -> TextIO:
    """The standard output, which nobody but us writes to from now on."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


def _listen(given: Queue[str]) -> None:
    for line in sys.stdin:
        given.put(line)
    os.kill(os.getpid(), signal.SIGINT)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
