"""A pool of workers on a Ray cluster: one that is there, or one that is started on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, get_type_hints

import pydantic
from pydantic import BaseModel

from ..errors import InputError, WorkError
from ..hardware import threads_of
from ..progress import ProgressState, ProgressTracker
from ..store.io import write_error
from ..workers import (
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
    import ray
    from ray.exceptions import GetTimeoutError, RayError
except ImportError:
    raise InputError("--engine ray: Ray is not installed: pip install 'sparsegrad[ray]'") from None

HERE = "local"  # the address of a cluster of our own on this machine
ANSWER_SECONDS = 5.0  # that a cluster may take to answer at its address
START_SECONDS = 900.0  # that a worker may take to start; others may use the cluster too


class Worker:
    """An actor that does one job at a time, and meanwhile says how far it is."""

    def __init__(self, probe: str) -> None:
        self._sees_results = Path(probe).exists()
        self._progress = ProgressTracker()

    def describe(self) -> tuple[bool, int]:
        """Returns whether it sees the results folder of the command, and its process."""
        return self._sees_results, os.getpid()

    def do(self, call: str) -> str:
        """Do a `Call`; returns `Finished` or `Failed` as JSON."""
        self._progress = ProgressTracker()
        return do_call(Call.model_validate_json(call), self._progress).model_dump_json()

    def state(self) -> str:
        """Returns a `ProgressState` as JSON."""
        return self._progress.state.model_dump_json()


@dataclass
class _Actor:
    handle: Any
    pid: int
    call: Call | None = None
    answer_type: Any = None
    answer: Any = None  # ray's reference to it
    shown: ProgressState | None = None
    deaths: int = 0  # of actors over this job


@dataclass
class RayPool:
    """A `Pool` of actors; each must see the results folder at the same path, as on a shared disk.

    Args:
        workers: number of actors.
        device: "cpu" or "cuda".
        per_gpu: actors on one GPU.
        address: of a cluster, "auto" for the one that this machine belongs to, or `HERE`.
        results: the results folder.
        tries: of a job whose actors die.
    """

    workers: int
    device: str
    per_gpu: int
    address: str
    results: Path
    tries: int = TRIES
    command: Sequence[str] = ()
    _actors: dict[int, _Actor] = field(default_factory=dict)
    _probe: Path | None = None

    def __enter__(self) -> RayPool:
        _check_reachable(self.address)
        self.command = self.command or typed_command()
        self._probe = self.results.resolve() / f".seen-{uuid.uuid4().hex}"
        try:
            self._probe.parent.mkdir(parents=True, exist_ok=True)
            self._probe.touch()
        except OSError as error:
            raise write_error(self.results, error) from None
        try:
            self._join()
            self._check_room()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors.values():
            ray.kill(actor.handle)
        ray.shutdown()
        if self._probe is not None:
            self._probe.unlink(missing_ok=True)

    def idle(self) -> list[int]:
        return [n for n in range(self.workers) if n not in self._actors or self._actors[n].call is None]

    def submit(self, worker: int, function: JobFunction, job: BaseModel) -> None:
        actor = self._actors.get(worker) or self._start(worker)
        actor.deaths, actor.answer_type = 0, get_type_hints(function)["return"]
        self._send(actor, make_call(function, job, self.command))

    def events(self, seconds: float) -> list[Event]:
        at_work = {number: actor for number, actor in self._actors.items() if actor.call is not None}
        if not at_work:
            time.sleep(seconds)
            return []
        answers = [actor.answer for actor in at_work.values()]
        ready, _ = ray.wait(answers, num_returns=len(answers), timeout=seconds)
        found = []
        for number, actor in at_work.items():
            message = self._ended(number, actor) if actor.answer in ready else _news(actor)
            if message is not None:
                found.append(Event(number, message))
        return found

    def _send(self, actor: _Actor, call: Call) -> None:
        actor.call, actor.shown = call, None
        actor.answer = actor.handle.do.remote(call.model_dump_json())

    def _ended(self, number: int, actor: _Actor) -> Message:
        call, actor.call = actor.call, None
        assert call is not None
        try:
            line = ray.get(actor.answer)
        except RayError as error:
            del self._actors[number]
            again = actor.deaths + 1 < self.tries
            if again:
                successor = self._start(number)
                successor.deaths, successor.answer_type = actor.deaths + 1, actor.answer_type
                self._send(successor, call)
            return Died(f"died ({type(error).__name__})", actor.pid, None, again)
        message: Finished | Failed = _ANSWER.validate_json(line)
        if isinstance(message, Finished):
            message.value = pydantic.TypeAdapter(actor.answer_type).validate_python(message.value)
        elif message.reason == "device":
            ray.kill(actor.handle)
            del self._actors[number]  # the next job gets a new one
        return message

    def _join(self) -> None:
        """Connect to the cluster, or start one; see `PoolOptions.open` for who may use it."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # of a cluster of our own: 15 is Ray's
        here: dict[str, Any] = {}
        if self.address == HERE:
            here = {"num_cpus": self.workers * threads_of(self.workers), "include_dashboard": False}
        with _own_signals():
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR, **here)
            except (ConnectionError, RayError, ValueError) as error:
                line = " ".join(str(error).split())
                raise InputError(f"--address {self.address}: no Ray cluster there ({line})") from None

    @property
    def _needs(self) -> dict[str, float]:
        """What Ray reserves for a worker."""
        if self.device == "cuda":
            return {"CPU": 1, "GPU": 1 / self.per_gpu}
        return {"CPU": threads_of(self.workers)}

    def _check_room(self) -> None:
        """Refuse more workers than the whole cluster can hold."""
        there = ray.cluster_resources()
        for name, need in self._needs.items():
            if (has := there.get(name, 0)) < self.workers * need:
                raise InputError(
                    f"--workers {self.workers}: the cluster has {has:g} {name}, "
                    f"{self.workers} workers with {need:g} each need {self.workers * need:g}"
                )

    def _start(self, number: int) -> _Actor:
        actor_class: Any = ray.remote(Worker)
        handle = actor_class.options(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs.get("GPU", 0),
            max_concurrency=2,  # a job, and questions about it
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads_of(self.workers))}},
        ).remote(str(self._probe))
        try:
            sees_results, pid = ray.get(handle.describe.remote(), timeout=START_SECONDS)
        except GetTimeoutError:
            minutes = f"{START_SECONDS / 60:.0f} minutes"
            raise WorkError(
                f"worker {number + 1} did not start within {minutes}: is the cluster busy?"
            ) from None
        except RayError as error:
            line = " ".join(str(error).split())[-300:]
            raise WorkError(f"a Ray worker cannot be started: {line}") from None
        if not sees_results:
            raise InputError(
                f"--output {self.results}: a Ray worker does not see this folder; it must be on a disk that "
                "all machines of the cluster share, at the same path"
            )
        self._actors[number] = _Actor(handle, pid)
        return self._actors[number]


_ANSWER: pydantic.TypeAdapter[Finished | Failed] = pydantic.TypeAdapter(Finished | Failed)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM, in whose place Ray puts its own."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody answers: Ray itself would try for minutes."""
    if address in (HERE, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise InputError(f"--address {address}: not auto, and not host:port")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: no Ray cluster there ({error})") from None


def _news(actor: _Actor) -> ProgressState | None:
    """Returns how far an actor's job is, if it is further than at the last look."""
    try:
        now = ProgressState.model_validate_json(ray.get(actor.handle.state.remote(), timeout=1.0))
    except RayError:
        return None  # it is dying, as its answer is about to show
    if now == actor.shown:
        return None
    actor.shown = now
    return now
