"""Where studies live: an Optuna journal file by default, or any database that SQLAlchemy knows.

A worker that died is noticed
- by the process that started it, at once (`run.py`);
- on a journal, by its lock beside the journal, which the system releases when the worker's process ends;
- on a database, by Optuna's heartbeats, a minute after the last one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna import Study
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from ..errors import InputError, WorkError
from ..store.io import is_locked, lock, redact

JOURNAL = Path("sweeps") / "journal.log"  # in the results folder
BEGINS = b'{"op_code":'  # of a journal
FIRST = "first"  # user attributes of a trial: the number of its first attempt
DEATHS = "deaths"  # workers that died over its attempts
RETRIES = 2  # times that a trial whose worker died is tried again
HEARTBEAT = 10  # seconds between two heartbeats
GRACE = 60  # seconds without one after which the worker counts as dead
POSTGRESQL = ("postgresql://", "postgres://")
DRIVERS = ("psycopg", "psycopg2")  # of PostgreSQL, the preferred one first
until_there_are_tables = Retrying(  # such as: another process has just made the table that we make
    retry=retry_if_exception_type((IntegrityError, ProgrammingError)),
    wait=wait_fixed(0.2),
    stop=stop_after_attempt(10),
    reraise=True,
)


def open_storage(where: str | None, results: Path, read_only: bool = False) -> BaseStorage:
    """Returns the storage that the user named, ready for several processes.

    Args:
        where: a database's URL, or the path of a journal file; None: the one in the results folder.
        results: the results folder.
        read_only: a journal, which must exist, is not written to.

    Raises:
        InputError: it cannot be reached or made; the message holds no password.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if is_journal(where):
            return _open_journal(results / JOURNAL if where is None else Path(where), read_only)
        assert where is not None
        return _open_database(where)


def is_journal(where: str | None) -> bool:
    """Returns whether the user named a journal file, by its path or by leaving it out."""
    return where is None or "://" not in where


def _open_journal(path: Path, read_only: bool) -> Journal:
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), open(path, "rb") as file:
            if not BEGINS.startswith(file.read(len(BEGINS))):  # before anything is written to it
                raise ValueError("it does not begin as one")
        return Journal(path.resolve(), read_only)
    except OSError as error:
        verb = "read" if read_only else "written"
        raise InputError(f"--storage {path}: cannot be {verb} ({error.strerror})") from None
    except (ValueError, LookupError) as error:
        raise InputError(f"--storage {path}: not a journal of Optuna's ({first_line(error)})") from None


def _open_database(url: str) -> Database:
    shown = redact(url)
    try:
        return until_there_are_tables(Database, _with_driver(url))
    except ImportError as error:
        hint = " (pip install 'sparsegrad[postgresql]')" if url.startswith("postgres") else ""
        raise InputError(f"--storage {shown}: its driver is missing: {first_line(error)}{hint}") from None
    except (OptunaError, SQLAlchemyError, ValueError, RuntimeError) as error:
        raise InputError(f"--storage {shown}: {first_line(error)}") from None


def _with_driver(url: str) -> str:
    """Returns the URL with an installed driver of PostgreSQL; SQLAlchemy's own choice varies by version."""
    scheme = next((scheme for scheme in POSTGRESQL if url.startswith(scheme)), None)
    if scheme is None:
        return url
    driver = next((driver for driver in DRIVERS if find_spec(driver)), DRIVERS[0])
    return f"postgresql+{driver}://{url.removeprefix(scheme)}"


def first_line(error: BaseException) -> str:
    """Returns the message of an error without the SQL and links that follow it."""
    message = re.split(r"\n(?:\(Background|\[SQL:|LINE \d)", str(error.__cause__ or error))[0]
    return redact(" ".join(message.split()))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a storage raises, such as when its server goes away, into a WorkError of one line."""
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise WorkError(
            f"the storage failed: {first_line(error)}; sparsegrad sweep --resume goes on"
        ) from error


def queue_again(study: Study, trial: FrozenTrial, deaths: int) -> None:
    """Queue another attempt at a trial, with its values; the sampler draws those that it has not yet."""
    first = trial.user_attrs.get(FIRST, trial.number)
    study.enqueue_trial(params_of(trial), user_attrs={FIRST: first, DEATHS: deaths})


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the values of a trial, or those that it was queued with if it has drawn none yet."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial again whose worker died, `RETRIES` times at most.

    Optuna's `RetryHeartbeatStaleTrialCallback` would copy the dead worker's name to the new attempt.
    """
    deaths = trial.user_attrs.get(DEATHS, 0) + 1
    if deaths <= RETRIES:
        queue_again(study, trial, deaths)


class Database(RDBStorage):
    """Optuna's, with heartbeats.

    Optuna ends a trial's heartbeats at the first one that the database does not take, so that other workers
    would take a live trial for dead.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna takes it for a template
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=retry,
        )

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(StorageInternalError, SQLAlchemyError):
            super().record_heartbeat(trial_id)


class Journal(JournalStorage):
    """Optuna's, with a lock for each worker in `<journal>.workers/`."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        file_lock = JournalLock(str(path))
        super().__init__(JournalFileBackend(str(path), file_lock))
        if not read_only:
            file_lock.acquire()  # shows that the file can be written
            file_lock.release()
        self.workers = path.with_name(f"{path.name}.workers")


@contextmanager
def registered(storage: BaseStorage, worker: str) -> Iterator[None]:
    """Hold the lock of this process, a worker, if the storage is a journal."""
    if not isinstance(storage, Journal):
        yield
        return
    folder = storage.workers / worker
    with lock(folder):
        yield
    shutil.rmtree(folder, ignore_errors=True)


def has_ended(storage: BaseStorage, worker: str) -> bool:
    """Returns whether the process of a journal's worker has ended; on a database its heartbeats show that."""
    return isinstance(storage, Journal) and not is_locked(storage.workers / worker)


class JournalLock(BaseJournalFileLock):
    """The lock of a journal file: the system's, held until its process releases it or ends.

    Optuna's own is taken from whoever holds it for 30 seconds: a process that was stopped in the middle of
    a write would go on writing beside another. The holder removes a last line that was cut short, by a full
    disk, a kill or a power cut: Optuna would write its next line behind it, and never again read either.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def acquire(self) -> bool:
        self.release()  # what an interrupt left locked
        file = open(self._path, "rb+")  # noqa: SIM115 (closed by `release`)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read() not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
