"""Processes with everything imported: commands and workers of the tests begin in a moment.

A fresh Python imports torch and transformers for many seconds. So one process, the *nursery*, imports them
once, and forks whatever a test starts. It computes nothing, and has one thread.
Such a process is as good as a fresh one: its own session, environment, folder and standard streams, killed
and stopped as any other. `tests/test_workers.py` starts real ones.
"""

from __future__ import annotations

import base64
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from sparsegrad_cli.cli.main import MODULES, VERBS

DEADLINE = 300.0  # seconds for anything that is waited for
LOOK_SECONDS = 0.01
PRELOADED = (
    "sparsegrad_cli.cli.main",
    *(f"sparsegrad_cli.cli.{MODULES.get(verb, verb)}" for verb in VERBS),
    "sparsegrad_cli.report",
    "sparsegrad_cli.grid.run",
    "sparsegrad_cli.sweep.trial",
    "sparsegrad_cli.training.run",
    "sparsegrad_cli.bench.measure",
    "sparsegrad_cli.bench.calibration",
    "sparsegrad_cli.gradients.record",
    "sparsegrad_cli.judge.judge",
)
SOCKET = "SPARSEGRAD_TEST_NURSERY"  # environment variable: where the nursery listens
NUMBER = struct.Struct("q")
ROOT = Path(__file__).resolve().parents[1]


class Forked:
    """A process that a nursery forked; of `subprocess.Popen` it has what the worker pool uses."""

    def __init__(
        self,
        what: str,
        arguments: list[str],
        environment: dict[str, str],
        *streams: int,
        address: str | None = None,  # of another nursery than that of all tests
    ) -> None:
        if address is None:
            open_nursery()
            address = os.environ[SOCKET]
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self._guard = socket.socket(socket.AF_UNIX)
        self._guard.connect("\0" + address)
        request = [what, arguments, {**environment, SOCKET: address}, os.getcwd()]
        socket.send_fds(self._guard, [json.dumps(request).encode() + b"\n"], list(streams))
        self.pid = self._number()

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._guard.settimeout(timeout)
            try:
                self.returncode = self._number()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("forked", timeout or 0.0) from None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        """Reads what the guard says: first the process id, in the end the exit code."""
        return NUMBER.unpack(self._guard.recv(NUMBER.size))[0]


def start_worker(environment: dict[str, str], stderr: IO[bytes]) -> Forked:
    """Stands in for `sparsegrad_cli.workers.start_process`."""
    return start_forked("worker", [], environment, stderr)


def start_forked(
    what: str,
    arguments: list[str],
    environment: dict[str, str],
    stderr: IO[bytes],
    address: str | None = None,
) -> Forked:
    """Returns a process with pipes to its standard input and from its output."""
    (stdin, ours_in), (ours_out, stdout) = os.pipe(), os.pipe()
    process = Forked(what, arguments, environment, stdin, stdout, stderr.fileno(), address=address)
    os.close(stdin)
    os.close(stdout)
    process.stdin, process.stdout = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb")
    return process


@dataclass
class Command:
    """A `sparsegrad` that is on its way."""

    process: Forked
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def end(self, deadline: float = DEADLINE) -> tuple[int, str, str]:
        """Waits for it; gives its exit code (negative: the signal that killed it), stdout and stderr."""
        code = self.process.wait(deadline)
        return code, self.out.read_text(), self.err.read_text()


class Commands:
    """Starts `sparsegrad` in processes of their own; as a context manager it leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Command] = []

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *how: object) -> None:
        for command in self._started:
            command.kill()
            command.process.wait(DEADLINE)

    def __call__(self, *arguments: object) -> Command:
        out, err = (self._folder / f"{name}-{len(self._started)}" for name in ("stdout", "stderr"))
        with open(os.devnull, "rb") as nothing, out.open("wb") as stdout, err.open("wb") as stderr:
            streams = (nothing.fileno(), stdout.fileno(), stderr.fileno())
            process = Forked("command", [*map(str, arguments)], dict(os.environ), *streams)
        self._started.append(Command(process, out, err))
        return self._started[-1]


def in_a_fork(function: Callable[..., Any], *arguments: object) -> Any:
    """Calls a module's function in a process of its own; gives what it returns."""
    call = base64.b64encode(pickle.dumps((function, arguments))).decode()
    with open(os.devnull, "rb") as nothing, tempfile.TemporaryFile() as out:
        process = Forked("call", [call], dict(os.environ), nothing.fileno(), out.fileno(), 2)
        assert process.wait(DEADLINE) == 0
        out.seek(0)
        return json.loads(out.read())


def wait_for(what: Callable[[], Any], goes_on: Callable[[], object] = lambda: True) -> Any:
    """Waits until it is true, and gives it; whatever makes it true must go on meanwhile."""
    deadline = time.monotonic() + DEADLINE
    while not (found := what()):
        assert goes_on(), "it has ended"
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s"
        time.sleep(LOOK_SECONDS)
    return found


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def open_nursery() -> None:
    """Start the nursery of this process and of those that it starts; it ends when this process does.

    It imports on while this process does other things.
    """
    if SOCKET in os.environ:
        return
    os.environ[SOCKET] = start_nursery("tests", _environment, PRELOADED)


def start_nursery(name: str, environment: dict[str, str], modules: Sequence[str]) -> str:
    """Start a nursery with these variables and modules; returns its address."""
    address = f"sparsegrad-{name}-{os.getpid()}"
    nursery = subprocess.Popen(
        [sys.executable, "-m", "tests.processes", address, *modules],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    _nurseries.append(nursery)
    assert nursery.stdout is not None
    assert nursery.stdout.readline() == b"listening\n"
    return address


_nurseries: list[subprocess.Popen[bytes]] = []  # their standard input is open as long as we live
_environment = dict(os.environ)  # before a test changes it
_set_by_imports: dict[str, str] = {}  # in a nursery: what its modules added to the environment


def _serve(address: str, *modules: str) -> None:
    """A nursery: forks a guard for each process that is asked for, until its input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.fsync = lambda descriptor: None  # as in conftest
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + address)
        listener.listen(100)
        print("listening", flush=True)
        before = set(os.environ)
        for module in modules:
            importlib.import_module(module)
        _set_by_imports.update({name: os.environ[name] for name in set(os.environ) - before})
        assert threading.active_count() == 1
        gc.collect()
        gc.freeze()  # a training in a fork collects garbage: spares it all that is imported
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for guards
        while True:
            ready, _, _ = select.select([0, listener], [], [])
            if 0 in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _guard(connection)
            connection.close()


def _guard(connection: socket.socket) -> NoReturn:
    """Fork the process that is asked for; say its id, and in the end how it ended."""
    request, streams, *_ = socket.recv_fds(connection, 1, 3)
    while not request.endswith(b"\n"):
        request += connection.recv(65536)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _live(*json.loads(request), streams)
    for stream in (0, 1, *streams):
        os.close(stream)
    with suppress(BrokenPipeError):  # who asked may be dead
        connection.send(NUMBER.pack(pid))
        connection.send(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    os._exit(0)


def _live(
    what: str, arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]
) -> NoReturn:
    """Be a command, a worker, a call or a script."""
    from sparsegrad_cli import workers
    from sparsegrad_cli.cli.main import main

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(_set_by_imports | environment)
    os.chdir(folder)
    workers.start_process = start_worker
    code: object = 0
    try:
        if what == "worker":
            workers.main()
        if what == "call":
            function, given = pickle.loads(base64.b64decode(arguments[0]))
            print(json.dumps(function(*given)))
            sys.exit()
        if what == "script":
            exec(arguments[0], {"__name__": "__main__"})
            sys.exit()
        sys.argv = ["sparsegrad", *arguments]
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    from tests.processes import _serve as serve  # or each class of this file would be there twice

    serve(*sys.argv[1:])
