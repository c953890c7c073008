"""The engine of a Ray cluster: one that is there, or one that is started on this machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ..errors import InputError, WorkError
from ..processes import threads_of
from .engine import Event, Lost
from .work import Ended, Job, Progress, Sight, do

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayError
except ImportError:
    raise InputError("--engine ray: Ray is not installed: pip install 'sparsegrad[ray]'") from None

HERE = "local"  # an address: a cluster of our own on this machine
ANSWER_SECONDS = 5.0  # that a cluster may take to answer at its address
START_SECONDS = 900.0  # that a worker may take to come; others may use the cluster too


class Worker:
    """An actor that does one cell at a time, and meanwhile says how far it is."""

    def __init__(self, probe: str) -> None:
        from ..training.inputs import quiet_libraries

        quiet_libraries(downloads=False)
        self._sees_results = Path(probe).exists()
        self._watch = Sight()

    def sees_results(self) -> bool:
        """Whether the results folder is the one that the command sees."""
        return self._sees_results

    def do(self, job: str) -> str:
        """Does a `Job`; gives an `Ended`."""
        asked = Job.model_validate_json(job)
        sys.argv = list(asked.command)  # what `environment.json` tells
        self._watch = Sight()
        return do(asked, self._watch).model_dump_json()

    def now(self) -> str:
        """A `Progress`."""
        return self._watch.now.model_dump_json()


@dataclass
class Member:
    """A worker, and the cell that it is at."""

    actor: ray.actor.ActorHandle
    job: Job | None = None
    answer: ray.ObjectRef | None = None
    told: Progress | None = None


@dataclass
class RayEngine:
    """See `Engine`. Every worker must see the results folder at the same path, as on a shared disk.

    Args:
        workers: actors.
        device: "cpu" or "cuda".
        per_gpu: workers on one GPU.
        address: of a cluster, "auto" for the one that this machine belongs to, or `HERE`.
        results: the results folder.
    """

    workers: int
    device: str
    per_gpu: int
    address: str
    results: Path
    _members: dict[int, Member] = field(default_factory=dict)
    _probe: Path | None = None

    def __enter__(self) -> RayEngine:
        _check_reachable(self.address)
        self._probe = self.results.resolve() / f".seen-{uuid.uuid4().hex}"
        try:
            self._probe.parent.mkdir(parents=True, exist_ok=True)
            self._probe.touch()
        except OSError as error:
            raise WorkError(f"cannot write to {self.results}: {error.strerror}; see --output") from None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # of a cluster of our own: 15 is Ray's
        here = {"num_cpus": self.workers * self._threads} if self.address == HERE else {}
        interrupt = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self.address,
                include_dashboard=False if self.address == HERE else None,
                log_to_driver=False,
                logging_level="error",
                **here,
            )
        except (ConnectionError, RayError, ValueError) as error:
            self._probe.unlink()
            line = " ".join(str(error).split())
            raise InputError(f"--address {self.address}: no Ray cluster there ({line})") from None
        finally:
            signal.signal(signal.SIGTERM, interrupt)  # Ray has put its own in place
        try:
            self._check_room()
        except InputError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for member in self._members.values():
            ray.kill(member.actor)
        ray.shutdown()
        if self._probe is not None:
            self._probe.unlink(missing_ok=True)

    def free(self) -> list[int]:
        return [
            number
            for number in range(self.workers)
            if number not in self._members or self._members[number].job is None
        ]

    def give(self, worker: int, job: Job) -> None:
        member = self._members.get(worker) or self._start(worker)
        absolute = job.model_copy(update={"results": str(self.results.resolve())})
        member.job, member.told = job, None
        member.answer = member.actor.do.remote(absolute.model_dump_json())

    def events(self, seconds: float) -> list[Event]:
        at_work = {number: m for number, m in self._members.items() if m.answer is not None}
        if not at_work:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait([m.answer for m in at_work.values()], num_returns=len(at_work), timeout=seconds)
        found = []
        for number, member in at_work.items():
            told = self._ended(number, member) if member.answer in ready else _progress(member)
            if told is not None:
                assert member.job is not None
                found.append(Event(number, member.job, told))
            if member.answer in ready:
                member.job = member.answer = None
        return found

    @property
    def _threads(self) -> int:
        return threads_of(self.workers)

    def _ended(self, number: int, member: Member) -> Ended | Lost:
        try:
            return Ended.model_validate_json(ray.get(member.answer))
        except RayError as error:
            del self._members[number]  # its successor is another actor
            return Lost(f"died ({type(error).__name__})")

    @property
    def _needs(self) -> dict[str, float]:
        """What Ray reserves for a worker."""
        if self.device == "cuda":
            return {"CPU": 1, "GPU": 1 / self.per_gpu}
        return {"CPU": self._threads}

    def _check_room(self) -> None:
        """Refuses more workers than the whole cluster could hold.

        Raises:
            InputError: so it is.
        """
        there = ray.cluster_resources()
        for name, need in self._needs.items():
            if (has := there.get(name, 0)) < self.workers * need:
                raise InputError(
                    f"--workers {self.workers}: the cluster has {has:g} {name}, "
                    f"{self.workers} workers with {need:g} each need {self.workers * need:g}"
                )

    def _start(self, number: int) -> Member:
        threads = {"OMP_NUM_THREADS": str(self._threads)}
        actor = (
            ray.remote(Worker)
            .options(
                num_cpus=self._needs["CPU"],
                num_gpus=self._needs.get("GPU", 0),
                max_concurrency=2,  # a cell, and questions about it
                runtime_env={"env_vars": threads},
            )
            .remote(str(self._probe))
        )
        try:
            sees = ray.get(actor.sees_results.remote(), timeout=START_SECONDS)
        except GetTimeoutError:
            raise WorkError(
                f"worker {number + 1} did not come within {START_SECONDS / 60:.0f} minutes: "
                "is the cluster busy?"
            ) from None
        except RayError as error:
            line = " ".join(str(error).split())[-300:]
            raise WorkError(f"a Ray worker cannot be started: {line}") from None
        if not sees:
            raise InputError(
                f"--output {self.results}: a Ray worker does not see this folder; it must be on a disk that "
                "all machines of the cluster share, at the same path"
            )
        self._members[number] = Member(actor)
        return self._members[number]


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        InputError: nobody answers at `host:port`.
    """
    if address in (HERE, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise InputError(f"--address {address}: not auto, and not host:port")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: no Ray cluster there ({error})") from None


def _progress(member: Member) -> Progress | None:
    """How far its cell is, if that is news."""
    try:
        now = Progress.model_validate_json(ray.get(member.actor.now.remote(), timeout=1.0))
    except RayError:
        return None  # it is dying, as its answer is about to tell
    if now == member.told:
        return None
    member.told = now
    return now
