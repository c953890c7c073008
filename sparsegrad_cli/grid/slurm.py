"""A pool of workers on SLURM: the tasks of a job array, each with a folder through which it is given jobs.

    results/.slurm-<token>/alive        touched as long as the command runs
    results/.slurm-<token>/0/start-0    the process of worker 0; start-1 if SLURM has requeued it, and so on
                             call-0     what it is to do, a `Call`
                             progress   how far it is, a `ProgressState`
                             answer-0   what came of it, `Finished` or `Failed`

A task that SLURM preempts is requeued: it starts again, finds a call without an answer, and goes on from the
last checkpoint. A task that ends without an answer is submitted again, `tries` times in all at most.
Partition, account and time are sbatch's own variables: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, get_type_hints

import pydantic
from pydantic import BaseModel

from .. import interrupts
from ..errors import InputError, WorkError
from ..hardware import threads_of
from ..progress import ProgressState, ReportedProgress
from ..store.io import redact, write_error, write_text
from ..workers import (
    STOP_SECONDS,
    TRIES,
    Call,
    Died,
    Event,
    Failed,
    Finished,
    JobFunction,
    Message,
    do_call,
    make_call,
    typed_command,
)

try:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.helpers import Checkpointable
except ImportError:
    raise InputError("--engine slurm: submitit is not installed: pip install 'sparsegrad[slurm]'") from None

LOOK_SECONDS = 0.5  # between two looks into a worker's folder
QUEUE_SECONDS = 5.0  # between two questions to SLURM
REPORT_SECONDS = 2.0  # between two writings of a worker's progress
ALIVE_SECONDS = 300.0  # after which an idle worker takes it that the command is gone
DEFAULT_MINUTES = 24 * 60  # of a task; SBATCH_TIMELIMIT goes before it
REQUEUES = 1000  # of a task whose time is up
_ANSWER: pydantic.TypeAdapter[Finished | Failed] = pydantic.TypeAdapter(
    Annotated[Finished | Failed, pydantic.Field(discriminator="what")]
)


class Server(Checkpointable):
    """What a task does: the calls in its folder, one after another, until the command is gone."""

    def __call__(self, folder: str) -> None:
        box, alive = Path(folder), Path(folder).parent / "alive"

        def report(state: ProgressState) -> None:
            write_text(box / "progress", state.model_dump_json())

        interrupts.listen()
        write_text(box / f"start-{_count(box, 'start')}", str(os.getpid()))
        touched, since = 0.0, time.monotonic()
        while time.monotonic() - since < ALIVE_SECONDS:
            number = _count(box, "answer")
            if not (box / f"call-{number}").exists():
                time.sleep(LOOK_SECONDS)
                if alive.exists() and alive.stat().st_mtime != touched:
                    touched, since = alive.stat().st_mtime, time.monotonic()
                continue
            call = Call.model_validate_json((box / f"call-{number}").read_text(encoding="utf-8"))
            answer = do_call(call, ReportedProgress(report, REPORT_SECONDS))
            write_text(box / f"answer-{number}", answer.model_dump_json())
            since = time.monotonic()
            if isinstance(answer, Failed) and answer.reason == "device":
                return  # CUDA is of no more use in this process


@dataclass
class _Task:
    folder: Path
    id: str = ""  # SLURM's, "12_0" in an array
    calls: int = 0  # so far
    answer_type: Any = None
    is_busy: bool = False
    starts: int = 0
    pid: int = 0
    deaths: int = 0  # of tasks over this call
    shown: ProgressState | None = None


@dataclass
class SlurmPool:
    """A `Pool` of SLURM tasks; each must see the results folder at the same path, as on a shared disk.

    Args:
        workers: number of tasks.
        device: "cpu", or "cuda": a GPU for each.
        results: the results folder.
        tries: of a job whose tasks end without an answer.
    """

    workers: int
    device: str
    results: Path
    tries: int = TRIES
    command: Sequence[str] = ()
    _tasks: list[_Task] = field(default_factory=list)
    _name: str = ""
    _queue: set[str] | None = None  # ids of tasks that wait or run; None: not known
    _asked: float = 0.0  # when SLURM was asked for it

    def __enter__(self) -> SlurmPool:
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise InputError(f"--engine slurm: there is no {program} here: use a login node of a cluster")
        self.command = self.command or typed_command()
        self._name = f"sparsegrad-{uuid.uuid4().hex[:12]}"
        self._tasks = [_Task(self._spool / str(number)) for number in range(self.workers)]
        try:
            for task in self._tasks:
                task.folder.mkdir(parents=True)
            self._start(self._tasks)
        except OSError as error:
            raise write_error(self._spool, error) from None
        except BaseException:
            shutil.rmtree(self._spool, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ask("scancel", "--name", self._name)
        deadline = time.monotonic() + STOP_SECONDS
        while self._ask_queue() != set() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)  # they save a checkpoint, and record that they were stopped
        shutil.rmtree(self._spool, ignore_errors=True)

    def idle(self) -> list[int]:
        """Returns the workers that SLURM has started and that have no job."""
        return [n for n, task in enumerate(self._tasks) if not task.is_busy and _count(task.folder, "start")]

    def submit(self, worker: int, function: JobFunction, job: BaseModel) -> None:
        task = self._tasks[worker]
        call = make_call(function, job, self.command)
        task.is_busy, task.deaths, task.shown = True, 0, None
        task.answer_type = get_type_hints(function)["return"]
        write_text(task.folder / f"call-{task.calls}", call.model_dump_json())
        task.calls += 1

    def events(self, seconds: float) -> list[Event]:
        deadline = time.monotonic() + seconds
        while True:
            (self._spool / "alive").touch()
            if time.monotonic() - self._asked >= QUEUE_SECONDS:
                self._queue = self._ask_queue()
            news = [(number, self._news(number, task)) for number, task in enumerate(self._tasks)]
            found = [Event(number, message) for number, message in news if message is not None]
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(min(LOOK_SECONDS, seconds))

    @property
    def _spool(self) -> Path:
        return self.results.resolve() / f".{self._name}"

    def _start(self, tasks: Sequence[_Task]) -> None:
        """Submit an array of tasks.

        Raises:
            InputError: SLURM refuses.
        """
        executor = SlurmExecutor(self._spool / "log", max_num_timeout=REQUEUES)
        threads = threads_of(self.workers) if self.device == "cpu" else threads_of(1)
        gpus: dict[str, Any] = {} if self.device == "cpu" else {"gpus_per_node": 1}
        executor.update_parameters(
            job_name=self._name,
            time=DEFAULT_MINUTES,
            cpus_per_task=threads,
            array_parallelism=len(tasks),
            setup=[f"export OMP_NUM_THREADS={threads}"],
            additional_parameters={"requeue": True},
            **gpus,
        )
        try:
            jobs = executor.map_array(Server(), [str(task.folder) for task in tasks])
        except (FailedJobError, FailedSubmissionError) as error:
            line = redact(" ".join(str(error).split()))[-300:]
            raise InputError(f"--engine slurm: SLURM takes no job of ours ({line})") from None
        for task, job in zip(tasks, jobs, strict=True):
            task.id = job.job_id
        self._queue, self._asked = None, 0.0

    def _news(self, number: int, task: _Task) -> Message | None:
        """Returns what has become of a task since the last look."""
        is_gone = self._queue is not None and task.id not in self._queue
        if task.is_busy and (task.folder / f"answer-{task.calls - 1}").exists():
            return self._answer(task)
        starts = _count(task.folder, "start")
        if starts > task.starts:
            before, task.starts = task.pid, starts
            task.pid = int((task.folder / f"start-{starts - 1}").read_text())
            if before and task.is_busy:
                return Died("was requeued by SLURM", before, None, again=True)
        if is_gone:
            return self._ended(number, task)
        if task.is_busy and (task.folder / "progress").exists():
            now = ProgressState.model_validate_json((task.folder / "progress").read_text(encoding="utf-8"))
            if now != task.shown:
                task.shown = now
                return now
        return None

    def _answer(self, task: _Task) -> Message:
        task.is_busy = False
        text = (task.folder / f"answer-{task.calls - 1}").read_text(encoding="utf-8")
        message: Finished | Failed = _ANSWER.validate_json(text)
        if isinstance(message, Finished):
            message.value = pydantic.TypeAdapter(task.answer_type).validate_python(message.value)
        return message

    def _ended(self, number: int, task: _Task) -> Died | None:
        """Submit a task again that is no longer in SLURM's queue.

        Raises:
            WorkError: it never started.
        """
        how = "ended in SLURM" + (f" ({tail})" if (tail := self._log_tail(task)) else "")
        if not task.is_busy and not task.starts:
            raise WorkError(f"worker {number + 1} {how} before it had begun")
        again = not task.is_busy or task.deaths + 1 < self.tries
        if again:
            self._start([task])
        if not task.is_busy:
            return None
        task.deaths, task.is_busy = task.deaths + 1, again
        return Died(how, task.pid, None, again)

    def _log_tail(self, task: _Task) -> str:
        """Returns the last line of a task's standard error, without passwords."""
        lines = [
            line
            for path in sorted((self._spool / "log").glob(f"{task.id}_*.err"))
            for line in path.read_text(errors="replace").splitlines()
        ]
        return redact(lines[-1].strip()) if lines else ""

    def _ask_queue(self) -> set[str] | None:
        """Returns the ids of our tasks that wait or run; None if SLURM does not answer."""
        self._asked = time.monotonic()
        answer = _ask("squeue", "--noheader", "--array", "--name", self._name, "--format", "%i")
        return None if answer is None else set(answer.split())


def _ask(*command: str) -> str | None:
    """Returns what a program of SLURM prints; None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def _count(folder: Path, kind: str) -> int:
    """Returns how many numbered files of a kind are in a worker's folder."""
    return sum(path.name.startswith(f"{kind}-") for path in folder.iterdir())
