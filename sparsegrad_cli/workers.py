"""Worker processes: a pool of subprocesses that call functions for us, over JSON lines on stdin and stdout.

A *job* is a pydantic record; a *job function* is a function of a module that takes the job and a `Progress`:

    def measure(job: MeasureJob, progress: Progress) -> Measured: ...

    with WorkerPool(workers=2, device="cpu") as pool:
        pool.submit(worker, measure, job)  # `worker` is one of pool.idle()
        for event in pool.events(seconds=0.5):
            match event.message:
                case ProgressState(): ...  # what the function told its `Progress`
                case Finished(value): ...  # a Measured
                case Failed(reason, error): ...  # an exception, in one line
                case Died(how, again=again): ...  # killed, or crashed; `again`: the job has begun anew

`run_in_fresh_process(measure, job)` does one job in a process of its own.

Each worker sees one GPU, or has a share of the cores. It ends when its parent does: its standard input is
closed then, which interrupts it as Ctrl-C does. A worker that dies within a job is started again with the
job, `tries` times in all at most. A function that fails with a CUDA error other than out of memory ends
its worker, and the next job gets a new one.
"""

from __future__ import annotations

import importlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Literal, Protocol, TextIO, get_type_hints

import pydantic
from pydantic import BaseModel

from . import interrupts
from .errors import (
    DeviceError,
    DiskError,
    InputError,
    WorkError,
    is_device_error,
    is_disk_full,
    is_out_of_memory,
)
from .hardware import worker_env
from .progress import Progress, ProgressState, ReportedProgress
from .store.io import redact

TRIES = 3  # of a job whose workers die
STOP_SECONDS = 60.0  # that a worker has to record that it was stopped, before it is killed
REPORT_SECONDS = 0.5  # between two lines of progress
INTERRUPTED = 130  # exit code
JobFunction = Callable[[Any, Progress], BaseModel]


class Call(BaseModel):
    """The line that asks a worker for a job."""

    function: str  # "package.module:name"
    job: pydantic.JsonValue
    command: tuple[str, ...]  # what the user typed; environment.json records it


class Finished(BaseModel):
    """The answer of a job function that returned."""

    what: Literal["finished"] = "finished"
    value: Any  # on the line as JSON; in an event as the function's return type


class Failed(BaseModel):
    """The answer of a job function that raised."""

    what: Literal["failed"] = "failed"
    reason: Literal["input", "work", "disk", "memory", "device", "bug"]
    error: str  # one line, without passwords


@dataclass(frozen=True)
class Died:
    """A worker ended without an answer."""

    how: str  # "was killed by signal 9", "ended with exit code 1 (...)"
    pid: int
    signal: int | None  # that killed it
    again: bool  # whether a new worker has begun its job anew


Message = ProgressState | Finished | Failed | Died
_LINE: pydantic.TypeAdapter[ProgressState | Finished | Failed] = pydantic.TypeAdapter(
    Annotated[ProgressState | Finished | Failed, pydantic.Field(discriminator="what")]
)


@dataclass(frozen=True)
class Event:
    """A message of a worker about the job that it is at."""

    worker: int
    message: Message


class Pool(Protocol):
    """Workers as a context manager; none is left behind, whatever ends the block."""

    workers: int

    def __enter__(self) -> Pool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def idle(self) -> list[int]:
        """Returns the workers that have no job."""

    def submit(self, worker: int, function: JobFunction, job: BaseModel) -> None:
        """Give an idle worker a job.

        Raises:
            WorkError: no process can be started.
        """

    def events(self, seconds: float) -> list[Event]:
        """Returns the messages since the last call; waits at most `seconds` for the first."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    call: Call | None = None
    answer: Any = None  # the type that the function returns
    deaths: int = 0  # of workers over this job


@dataclass
class WorkerPool:
    """A `Pool` of processes on this machine.

    Args:
        workers: number of processes; they start when they get their first job.
        device: "cpu" or "cuda".
        tries: of a job whose workers die.
        command: what the user typed; by default that of this process.
    """

    workers: int
    device: str
    tries: int = TRIES
    command: Sequence[str] = ()
    _members: dict[int, _Worker] = field(default_factory=dict)
    _lines: queue.Queue[tuple[int, _Worker, bytes | None]] = field(default_factory=queue.Queue)

    def __enter__(self) -> WorkerPool:
        self.command = self.command or typed_command()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop_all([member.process for member in self._members.values()])

    def idle(self) -> list[int]:
        busy = {number for number, member in self._members.items() if member.call is not None}
        return [number for number in range(self.workers) if number not in busy]

    def submit(self, worker: int, function: JobFunction, job: BaseModel) -> None:
        member = self._members.get(worker)
        if member is None or member.process.poll() is not None:
            member = self._start(worker)
        member.deaths = 0
        member.answer = get_type_hints(function)["return"]
        self._send(member, make_call(function, job, self.command))

    def events(self, seconds: float) -> list[Event]:
        found: list[Event] = []
        wait = seconds
        while True:
            try:
                number, member, line = self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
            except queue.Empty:
                return found
            wait = 0.0
            if member.call is None:
                continue
            found.append(
                Event(number, self._died(number, member) if line is None else self._read(member, line))
            )

    def _start(self, number: int) -> _Worker:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        try:
            process = start_process({**os.environ, **worker_env(number, self.workers, self.device)}, stderr)
        except OSError as error:
            raise WorkError(f"cannot start a worker process: {error.strerror}") from None
        member = self._members[number] = _Worker(process, stderr)
        threading.Thread(target=self._listen, args=(number, member), daemon=True).start()
        return member

    def _listen(self, number: int, member: _Worker) -> None:
        assert member.process.stdout is not None
        for line in member.process.stdout:
            if line.endswith(b"\n"):  # else the worker was killed in the middle of it
                self._lines.put((number, member, line))
        self._lines.put((number, member, None))

    def _send(self, member: _Worker, call: Call) -> None:
        member.call = call
        assert member.process.stdin is not None
        try:
            member.process.stdin.write(call.model_dump_json().encode() + b"\n")
            member.process.stdin.flush()  # and left open: it closes when we die
        except BrokenPipeError:
            pass  # it has died, and `events` is about to report it

    def _read(self, member: _Worker, line: bytes) -> Message:
        try:
            message = _LINE.validate_json(line)
            if isinstance(message, Finished):
                message.value = pydantic.TypeAdapter(member.answer).validate_python(message.value)
        except pydantic.ValidationError as error:
            message = Failed(
                reason="bug", error=f"the worker's answer is invalid ({error.errors()[0]['msg']})"
            )
        if isinstance(message, ProgressState):
            return message
        member.call = None
        if isinstance(message, Failed) and message.reason == "device":
            member.process.wait()  # it ends by itself; `submit` starts another
        return message

    def _died(self, number: int, member: _Worker) -> Died:
        code, call = member.process.wait(), member.call
        assert call is not None
        member.call = None
        again = member.deaths + 1 < self.tries
        if again:
            successor = self._start(number)
            successor.answer, successor.deaths = member.answer, member.deaths + 1
            self._send(successor, call)
        how = f"was killed by signal {-code}"
        if code >= 0:
            tail = stderr_tail(member.stderr)
            how = f"ended with exit code {code}" + (f" ({tail})" if tail else "")
        return Died(how, member.process.pid, -code if code < 0 else None, again)


def start_process(env: dict[str, str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker: a process that does `main`."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=env,
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )


def run_in_fresh_process(
    function: JobFunction, job: BaseModel, device: str = "cpu"
) -> Finished | Failed | Died:
    """Do a job in a process of its own, and wait for it; whatever stops us stops it too."""
    with WorkerPool(1, device, tries=1) as pool:
        return do_job(pool, 0, function, job)


def do_job(pool: Pool, worker: int, function: JobFunction, job: BaseModel) -> Finished | Failed | Died:
    """Do a job on an idle worker of a pool that has nothing else to do, and wait for it."""
    pool.submit(worker, function, job)
    while True:
        for event in pool.events(1.0):
            if not isinstance(event.message, ProgressState):
                return event.message


def make_call(function: JobFunction, job: BaseModel, command: Sequence[str]) -> Call:
    """Returns the line that asks for a job."""
    name = f"{function.__module__}:{function.__qualname__}"
    return Call(function=name, job=job.model_dump(mode="json"), command=tuple(command))


def typed_command() -> tuple[str, ...]:
    """Returns the command line of this process, without passwords."""
    return (Path(sys.argv[0]).name, *map(redact, sys.argv[1:]))


def stop_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt processes as Ctrl-C does, and wait for them; one that does not end in time is killed."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    try:
        for process in running:
            process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in running:
            process.kill()
            process.wait()


def stderr_tail(stderr: IO[bytes]) -> str:
    """Returns the last line of a process's standard error, without passwords."""
    stderr.seek(0)
    return redact(stderr.read().decode(errors="replace").strip().rpartition("\n")[2])


def do_call(call: Call, progress: Progress) -> Finished | Failed:
    """Do a job in this process; an exception is part of the answer."""
    module, _, name = call.function.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        job_type = next(iter(get_type_hints(function).values()))
        sys.argv = list(call.command)
        value = function(pydantic.TypeAdapter(job_type).validate_python(call.job), progress)
        return Finished(value=value.model_dump(mode="json"))
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> Failed:
    """Returns the answer for an exception; its type is named where it is not one of ours."""
    line = redact(" ".join(str(error).split()))
    match error:
        case InputError():
            return Failed(reason="input", error=line)
        case DeviceError():
            return Failed(reason="device", error=line)
        case DiskError():
            return Failed(reason="disk", error=line)
        case WorkError():
            return Failed(reason="work", error=line)
    checks = {"memory": is_out_of_memory, "disk": is_disk_full, "device": is_device_error}
    reason: Any = next((name for name, is_it in checks.items() if is_it(error)), "bug")
    return Failed(reason=reason, error=f"{type(error).__name__}: {line}")


def write_line(out: TextIO, message: BaseModel) -> None:
    """Write a message as one line, at once."""
    out.write(message.model_dump_json() + "\n")
    out.flush()


def main() -> None:
    """Do the jobs on standard input, one JSON line each, until the input is closed."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    interrupts.listen()

    def report(state: ProgressState) -> None:
        with suppress(BrokenPipeError):  # the parent has died: the closed input is about to interrupt us
            write_line(out, state)

    calls: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_input, args=(calls,), daemon=True).start()
    try:
        while True:
            call = Call.model_validate_json(calls.get())
            answer = do_call(call, ReportedProgress(report, REPORT_SECONDS))
            write_line(out, answer)
            if isinstance(answer, Failed) and answer.reason == "device":
                os._exit(1)
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(INTERRUPTED)  # without waiting for threads that libraries left


def _read_input(calls: queue.Queue[str]) -> None:
    for line in sys.stdin:
        calls.put(line)
    os.kill(os.getpid(), signal.SIGINT)  # the parent has died, or needs us no more
    time.sleep(STOP_SECONDS)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    from sparsegrad_cli.workers import (
        main as canonical_main,
    )  # or each class of this file would be there twice

    canonical_main()
