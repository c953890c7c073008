"""Where studies live: an Optuna journal file by default, or any database that SQLAlchemy knows.

A worker that died is noticed
- by the process that started it, at once (`run.py`);
- on a journal, by its lock beside the journal, which the system releases when the worker's process ends;
- on a database, by Optuna's heartbeats, a minute after the last one.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna import Study
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from ..errors import InputError, WorkError
from ..store.io import redact
from ..store.lock import is_locked, lock

JOURNAL = Path("sweeps") / "journal.log"  # in the results folder


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


def is_sqlite(where: str | None) -> bool:
    """Returns whether it is a database that locks out all other processes while one writes."""
    return where is not None and where.startswith("sqlite")


def _open_journal(path: Path, read_only: bool) -> Journal:
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        check_journal(path)
        return Journal(path.resolve(), read_only)
    except OSError as error:
        verb = "read" if read_only else "written"
        raise InputError(f"--storage {path}: cannot be {verb} ({error.strerror})") from None
    except (ValueError, LookupError) as error:
        raise InputError(f"--storage {path}: not a journal of Optuna's ({first_line(error)})") from None


def _open_database(url: str) -> Database:
    shown = redact(url)
    try:
        return _with_tables(_with_driver(url))
    except ImportError as error:
        hint = " (pip install 'sparsegrad[postgresql]')" if url.startswith("postgres") else ""
        raise InputError(f"--storage {shown}: its driver is missing: {first_line(error)}{hint}") from None
    except (OptunaError, SQLAlchemyError, ValueError, RuntimeError) as error:
        raise InputError(f"--storage {shown}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Returns the message of an error without the SQL and links that follow it."""
    message = re.split(r"\n(?:\(Background|\[SQL:|LINE \d)", str(error.__cause__ or error))[0]
    return redact(" ".join(message.split()))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a storage raises, such as when its server goes away, into one line.

    Raises:
        WorkError: the storage failed.
    """
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise WorkError(
            f"the storage failed: {first_line(error)}; sparsegrad sweep --resume goes on"
        ) from error


FIRST = "first"  # user attributes of a trial: the number of its first attempt
DEATHS = "deaths"  # workers that died over its attempts
RETRIES = 2  # times that a trial whose worker died is tried again


def queue_again(study: Study, trial: FrozenTrial, deaths: int) -> None:
    """Queue another attempt at a trial, with its values; the sampler draws those that it has not yet."""
    values = trial.params or trial.system_attrs.get("fixed_params", {})
    first = trial.user_attrs.get(FIRST, trial.number)
    study.enqueue_trial(dict(values), user_attrs={FIRST: first, DEATHS: deaths})


def retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial again whose worker died, `RETRIES` times at most.

    Optuna's `RetryHeartbeatStaleTrialCallback` would copy the dead worker's name to the new attempt.
    """
    deaths = trial.user_attrs.get(DEATHS, 0) + 1
    if deaths <= RETRIES:
        queue_again(study, trial, deaths)


HEARTBEAT = 10  # seconds between two heartbeats
GRACE = 60  # seconds without one after which the worker counts as dead
POSTGRESQL = ("postgresql://", "postgres://")
DRIVERS = ("psycopg", "psycopg2")  # of PostgreSQL, the preferred one first
TABLE_TRIES = 10  # at a database whose tables another process is making


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


def _with_tables(url: str) -> Database:
    """Returns the database with its tables; waits while another process makes them."""
    for _ in range(TABLE_TRIES - 1):
        try:
            return Database(url)
        except (IntegrityError, ProgrammingError):  # such as: the table exists by now
            time.sleep(0.2)
    return Database(url)


def _with_driver(url: str) -> str:
    """Returns the URL with an installed driver of PostgreSQL; SQLAlchemy's own choice varies by version."""
    scheme = next((scheme for scheme in POSTGRESQL if url.startswith(scheme)), None)
    if scheme is None:
        return url
    driver = next((driver for driver in DRIVERS if find_spec(driver)), DRIVERS[0])
    return f"postgresql+{driver}://{url.removeprefix(scheme)}"


BEGINS = b'{"op_code":'


def check_journal(path: Path) -> None:
    """Refuse, before anything is written to it, a file that is something else.

    Raises:
        ValueError: the file does not begin as a journal does.
    """
    with suppress(FileNotFoundError), open(path, "rb") as file:
        if not BEGINS.startswith(file.read(len(BEGINS))):
            raise ValueError("it does not begin as one")


class Journal(JournalStorage):
    """Optuna's, with a lock for each worker in `<journal>.workers/`."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        file_lock = MendingLock(str(path))
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


class MendingLock(JournalFileSymlinkLock):
    """The lock of a journal file; it removes a last line that was cut short.

    A full disk, a kill or a power cut can cut the last line short. Optuna would write its next line behind
    it, and could never again read either. Only the holder of the lock writes, so it may mend the file.
    """

    def acquire(self) -> bool:
        super().acquire()
        try:
            _mend(self._lock_target_file)
        except BaseException:
            self.release()
            raise
        return True


def _mend(path: str) -> None:
    with open(path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
