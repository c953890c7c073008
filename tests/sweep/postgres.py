"""A PostgreSQL server of the tests' own: on a free port of this machine, gone with the session."""

from __future__ import annotations

import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

USER, HOST = "sweeper", "127.0.0.1"
UNPRIVILEGED = ("postgres", "nobody")  # PostgreSQL refuses to run as root
STARTS = 3  # with another port each, should another process take the free one first
DEADLINE = 120.0  # seconds, for what takes one or two
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB")


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    psycopg: ModuleType
    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str, user: str = USER, password: str | None = None) -> str:
        """The URL of a database; with the superuser's name and password, unless others are given."""
        return f"postgresql://{user}:{password or self.password}@{HOST}:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Does a statement as the superuser."""
        with self.psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    def new_database(self) -> str:
        """The URL of a database that holds nothing yet."""
        name = f"fresh{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with a password; a process of pytest-xdist has one of its own."""
    psycopg = pytest.importorskip("psycopg", reason="no driver: pip install 'sparsegrad[postgresql]'")
    initdb, program = _program("initdb"), _program("postgres")
    as_whom = _as_whom()
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=_place()))
    password = f"sesame{secrets.token_hex(8)}"
    try:
        _make_cluster(initdb, folder, password, as_whom)
        process, server = _start(program, folder, Server(psycopg, 0, password), as_whom)
        try:
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    """A program of the server's; Debian keeps them, one set a version, where PATH does not lead."""
    debian = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
    found = shutil.which(name) or max(debian, key=_version, default=None)
    if found is None:
        pytest.skip(f"no PostgreSQL server on this machine: {name} is not there (apt install postgresql)")
    return found


def _version(program: str) -> float:
    number = Path(program).parent.parent.name
    return float(number) if number.replace(".", "", 1).isdigit() else 0.0


def _as_whom() -> dict[str, object]:
    """How to start a process that PostgreSQL accepts: as we are, or as another user when we are root."""
    if os.geteuid() != 0:
        return {}
    for name in UNPRIVILEGED:
        with suppress(KeyError, OSError):
            user = pwd.getpwnam(name)
            how = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            subprocess.run(["true"], check=True, **how)
            return how
    pytest.skip(f"PostgreSQL does not run as root, and we cannot become {' or '.join(UNPRIVILEGED)}")


def _place() -> str:
    """A folder for temporary ones that every user may pass through."""
    for place in map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp")):
        above = [place.resolve(), *place.resolve().parents]
        if os.geteuid() != 0 or all(folder.stat().st_mode & stat.S_IXOTH for folder in above):
            return str(place)
    pytest.skip("PostgreSQL does not run as root, and other users may not enter our temporary folder")


def _make_cluster(initdb: str, folder: Path, password: str, as_whom: dict[str, object]) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if as_whom:
        for path in (folder, secret):
            os.chown(path, as_whom["user"], as_whom["group"])
    subprocess.run(
        [
            *(initdb, "--pgdata", str(folder / "data"), "--username", USER, "--pwfile", str(secret)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **as_whom,
    )


def _start(
    program: str, folder: Path, planned: Server, as_whom: dict[str, object]
) -> tuple[subprocess.Popen[bytes], Server]:
    log = folder / "log"
    for _ in range(STARTS):
        server = replace(planned, port=_free_port())
        settings = (f"listen_addresses={HOST}", f"port={server.port}", f"unix_socket_directories={folder}")
        options = [word for setting in (*settings, *FAST) for word in ("-c", setting)]
        with log.open("wb") as written:
            process = subprocess.Popen(
                [program, "-D", str(folder / "data"), *options],
                stdout=written,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends it
                **as_whom,
            )
        try:
            if _is_ready(process, server):
                return process, server
        except BaseException:
            _stop(process)
            raise
    raise RuntimeError(f"PostgreSQL does not start: {log.read_text(errors='replace')}")


def _is_ready(process: subprocess.Popen[bytes], server: Server) -> bool:
    """Waits until the server takes connections; whether it does, rather than having ended."""
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None:
        try:
            server.execute("SELECT 1")
            return True
        except server.psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server at once: nobody reads its files again."""
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
