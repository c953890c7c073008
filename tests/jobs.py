"""Job functions for tests of the worker pool: what a worker may be asked, and how it may end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from sparsegrad_cli import interrupts
from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.progress import Progress


class Ask(BaseModel):
    """A job; what each function makes of it is in its docstring."""

    text: str = ""
    file: Path = Path()


class Answer(BaseModel):
    """What a worker found."""

    text: str
    pid: int


def echo(job: Ask, progress: Progress) -> Answer:
    """Returns the text; prints it too, as a library would."""
    print("not JSON")
    progress.phase("train", 2)
    progress.step(1, loss=0.5)
    progress.evaluated("accuracy", 0.5, 0.75)
    return Answer(text=job.text, pid=os.getpid())


def environment(job: Ask, progress: Progress) -> Answer:
    """Returns an environment variable of the worker."""
    return Answer(text=os.environ.get(job.text, ""), pid=os.getpid())


def fail(job: Ask, progress: Progress) -> Answer:
    """Raises what the text says."""
    errors = {"input": InputError, "work": WorkError, "memory": MemoryError, "bug": KeyError}
    if job.text in errors:
        raise errors[job.text]("postgresql://me:secret@host failed")
    raise RuntimeError(job.text)


def die(job: Ask, progress: Progress) -> Answer:
    """Is killed while it writes a line, until the file holds as many bytes as the text says."""
    with job.file.open("ab") as file:
        file.write(b"x")
    if job.file.stat().st_size <= int(job.text):
        os.write(_stdout(), b'{"what":"finished","val')
        os.kill(os.getpid(), signal.SIGKILL)
    return Answer(text="alive", pid=os.getpid())


def leave(job: Ask, progress: Progress) -> Answer:
    """Ends the process without an answer."""
    print("some reason", file=sys.stderr, flush=True)
    os._exit(3)


def wait(job: Ask, progress: Progress) -> Answer:
    """Writes its process id, and sleeps until it is interrupted; then writes that it was."""
    job.file.write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        job.file.write_text("interrupted")
        raise
    return Answer(text="slept", pid=os.getpid())


def report(job: Ask, progress: Progress) -> Answer:
    """Writes its process id, reports once it is to stop, and then writes that it was interrupted."""
    job.file.write_text(str(os.getpid()))
    try:
        with interrupts.deferred():
            while not interrupts.requested():
                time.sleep(0.01)
            progress.phase("train", 2)
    except BaseException as error:
        job.file.write_text("interrupted" if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    return Answer(text="told", pid=os.getpid())


def defer(job: Ask, progress: Progress) -> Answer:
    """Defers a signal that it sends itself to the end of a block, and writes where it was interrupted."""
    found = []
    try:
        with interrupts.deferred():
            os.kill(os.getpid(), signal.SIGUSR1)
            found.append(f"requested {interrupts.requested()}")
            with interrupts.interruptible():
                found.append("never")
    except KeyboardInterrupt:
        found.append("interrupted")
    return Answer(text=", ".join(found), pid=os.getpid())


def _stdout() -> int:
    """The pipe that the answers go to: a copy of the worker's original standard output."""
    pipes = [int(fd) for fd in os.listdir("/proc/self/fd") if fd not in ("0", "1", "2")]
    return next(fd for fd in sorted(pipes) if _is_pipe(fd))


def _is_pipe(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    except OSError:
        return False
