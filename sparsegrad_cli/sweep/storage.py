"""Where studies live: a journal file by default, or any database that SQLAlchemy knows."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna import Study
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages._rdb.models import TrialModel
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from ..errors import InputError, WorkError
from ..store.io import redact
from . import storage as liveness

JOURNAL = Path("sweeps") / "journal.log"  # in the results folder


def open_storage(where: str | None, results: Path) -> BaseStorage:
    """The storage that the user named, ready for several processes.

    Args:
        where: a database's URL, or the path of a journal file; None: the one in the results folder.
        results: the results folder.

    Raises:
        InputError: it cannot be reached or made; the message holds no password.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if where is None or "://" not in where:
            path = results / JOURNAL if where is None else Path(where)
            return _journal(path)
        return _database(where)


def is_sqlite(where: str | None) -> bool:
    """Whether it is a database that locks out all others while one writes."""
    return where is not None and where.startswith("sqlite")


def _journal(path: Path) -> LiveJournal:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_journal(path)
        return LiveJournal(path.resolve())
    except OSError as error:
        raise InputError(f"--storage {path}: cannot be written ({error.strerror})") from None
    except (ValueError, LookupError) as error:
        raise InputError(f"--storage {path}: no journal of Optuna's ({first_line(error)})") from None


def _database(url: str) -> LiveDatabase:
    shown = redact(url)
    try:
        return open_database(url)
    except ImportError as error:
        hint = " (pip install 'sparsegrad[postgresql]')" if url.startswith("postgres") else ""
        raise InputError(f"--storage {shown}: its driver is missing: {first_line(error)}{hint}") from None
    except (OptunaError, SQLAlchemyError, ValueError, RuntimeError) as error:
        raise InputError(f"--storage {shown}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What happened, of an error that goes on with SQL and links."""
    said = re.split(r"\n(?:\(Background|\[SQL:|LINE \d)", str(error.__cause__ or error))[0]
    return redact(" ".join(said.split()))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns what a storage raises, such as when its server goes away, into one line.

    Raises:
        WorkError: it failed.
    """
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise WorkError(
            f"the storage failed: {first_line(error)}; sparsegrad sweep --resume goes on"
        ) from error


HEARTBEAT = 10  # seconds between two signs of life
GRACE = 60  # seconds without one after which the worker counts as dead
RETRIES = 2  # times that a trial whose worker died is tried again


def retry() -> RetryHeartbeatStaleTrialCallback:
    """What queues such a trial again, with the same parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)


def times_lost(trial: FrozenTrial) -> int:
    """How often a worker died over the trial's earlier attempts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return len(RetryHeartbeatStaleTrialCallback.retry_history(trial))


POSTGRESQL = ("postgresql://", "postgres://")
DRIVERS = ("psycopg", "psycopg2")  # of PostgreSQL, the preferred one first
TABLE_TRIES = 10  # at a database whose tables another process is making


def open_database(url: str) -> LiveDatabase:
    """The database, with its tables; waits where another process is making these.

    Raises:
        ImportError: its driver is not installed.
        SQLAlchemyError: it cannot be reached, or says no; also as an OptunaError or another exception.
    """
    for _ in range(TABLE_TRIES - 1):
        try:
            return LiveDatabase(_with_driver(url))
        except (IntegrityError, ProgrammingError):  # such as: the table is there by now
            time.sleep(0.2)
    return LiveDatabase(_with_driver(url))


def _with_driver(url: str) -> str:
    """A URL of PostgreSQL with a driver that is there; which one SQLAlchemy takes depends on its version."""
    scheme = next((scheme for scheme in POSTGRESQL if url.startswith(scheme)), None)
    if scheme is None:
        return url
    driver = next((driver for driver in DRIVERS if find_spec(driver)), DRIVERS[0])
    return f"postgresql+{driver}://{url.removeprefix(scheme)}"


class LiveDatabase(RDBStorage):
    """A database whose running trials all give signs of life.

    In Optuna a trial whose worker died before its first sign runs forever, and one sign that the database
    did not take is the last.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna takes it for a template
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=liveness.HEARTBEAT,
            grace_period=liveness.GRACE,
            heartbeat_stale_trial_callback=liveness.retry(),
        )

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(StorageInternalError, SQLAlchemyError):
            super().record_heartbeat(trial_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """As Optuna's; a trial that gave no sign yet counts from now."""
        with self.scoped_session() as session:
            running = session.query(TrialModel.trial_id).filter(
                TrialModel.study_id == study_id, TrialModel.state == TrialState.RUNNING
            )
            silent = [trial_id for (trial_id,) in running.filter(~TrialModel.heartbeats.any())]
        for trial_id in silent:
            self.record_heartbeat(trial_id)
        return super()._get_stale_trial_ids(study_id)


BEGINS = b'{"op_code":'


def check_journal(path: Path) -> None:
    """Refuses, before anything is written to it, a file that is something else.

    Raises:
        ValueError: so it is.
    """
    with suppress(FileNotFoundError), open(path, "rb") as file:
        if not BEGINS.startswith(file.read(len(BEGINS))):
            raise ValueError("it begins otherwise")


class LiveJournal(JournalStorage, BaseHeartbeat):
    """A journal file whose running trials give signs of life, as those of `RDBStorage` do.

    A sign is the time stamp of the file `<journal>.alive/<trial id>`. Whether it is old is decided by the
    file system's clock alone, so machines whose own clocks differ agree.
    """

    def __init__(self, path: Path) -> None:
        lock = MendingLock(str(path))
        super().__init__(JournalFileBackend(str(path), lock))
        lock.acquire()  # shows that it can be written
        lock.release()
        self._signs = path.with_name(f"{path.name}.alive")
        if not path.stat().st_size:
            shutil.rmtree(self._signs, ignore_errors=True)  # of a journal that was here before
        self._callback = liveness.retry()

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(OSError):  # the next sign may get through
            self._signs.mkdir(exist_ok=True)
            (self._signs / str(trial_id)).touch()

    def get_heartbeat_interval(self) -> int:
        return liveness.HEARTBEAT

    def get_heartbeat_stale_trial_callback(self) -> Callable[[Study, FrozenTrial], None]:
        return self._callback

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return []
        self._signs.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=self._signs) as clock:
            now = os.fstat(clock.fileno()).st_mtime
        return [
            trial._trial_id for trial in running if now - self._last_sign(trial._trial_id) > liveness.GRACE
        ]

    def _last_sign(self, trial_id: int) -> float:
        """When a trial last gave a sign; one that gave none yet counts from now."""
        sign = self._signs / str(trial_id)
        if not sign.exists():
            sign.touch()
        return sign.stat().st_mtime


class MendingLock(JournalFileSymlinkLock):
    """The lock of a journal file from which a line that was cut short is taken away.

    A full disk, a kill or a power cut can cut the last line short. Optuna would write its next line behind
    it, and could read neither ever after. Only who holds the lock writes, so whoever gets it may mend.
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
