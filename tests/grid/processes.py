"""Commands in processes of their own, watched from outside and killed."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from sparsegrad_cli.cli.main import main

DEADLINE = 120.0  # seconds for anything that is waited for
LOOK_SECONDS = 0.01
FORKS = multiprocessing.get_context("forkserver")  # one process imports all; the others are born with it
FORKS.set_forkserver_preload(["sparsegrad_cli.cli.run_common", "sparsegrad_cli.training.run"])


@dataclass
class Command:
    """A `sparsegrad` that is on its way."""

    process: ForkServerProcess
    said: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def end(self, deadline: float = DEADLINE) -> tuple[int, str]:
        """Waits for it; gives its exit code (negative: the signal that killed it) and its standard error."""
        self.process.join(deadline)
        assert self.process.exitcode is not None, f"not within {deadline:.0f} s"
        return self.process.exitcode, self.said.read_text()


def start(said: Path, *arguments: object) -> Command:
    """Starts `sparsegrad` with arguments; what it says on standard error goes to a file."""
    process = FORKS.Process(target=_sparsegrad, args=([*map(str, arguments)], dict(os.environ), said))
    process.start()
    return Command(process, said)


def _sparsegrad(arguments: list[str], environment: dict[str, str], said: Path) -> None:
    os.environ.update(environment)
    for number, path in ((1, os.devnull), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["sparsegrad", *arguments]
    main()


def wait_for(what: Callable[[], object]) -> None:
    """Until it is true."""
    deadline = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s"
        time.sleep(LOOK_SECONDS)


def latest(results: Path) -> tuple[int, Path | None]:
    """The step of the latest checkpoint, and its run's folder."""
    found = (results / "runs").glob("*/checkpoints/checkpoint-*")
    steps = [(int(path.name.rpartition("-")[2]), path.parents[1]) for path in found]
    return max(steps, default=(0, None))


def half_way(results: Path) -> Path:
    """Waits until a run that goes on is some steps further; gives its folder."""
    before, _ = latest(results)
    wait_for(lambda: latest(results)[0] >= before + 4)
    folder = latest(results)[1]
    assert folder is not None
    return folder


def holder(folder: Path) -> int | None:
    """The process that holds a run's folder: the one that has its lock open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(folder / "lock"):
                return int(link.parts[2])
        except OSError:
            continue  # gone meanwhile, or not ours
    return None


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()
