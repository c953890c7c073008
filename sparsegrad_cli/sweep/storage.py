"""Where studies live: a journal file by default, or any database that SQLAlchemy knows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ..errors import InputError
from ..store.redact import redact

HEARTBEAT = 10  # seconds between two signs of life of a running trial
GRACE = 60  # seconds without one after which its worker counts as dead
RETRIES = 2  # times that a trial whose worker died is tried again
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
        return LiveJournal(path.resolve())
    except OSError as error:
        raise InputError(f"--storage {path}: cannot be written ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"--storage {path}: no journal of Optuna's ({error})") from None


def _database(url: str) -> RDBStorage:
    shown = redact(url)
    try:
        return RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )
    except ImportError as error:
        hint = " (pip install 'sparsegrad[postgresql]')" if url.startswith("postgres") else ""
        raise InputError(f"--storage {shown}: its driver is missing: {_line(error)}{hint}") from None
    except (SQLAlchemyError, ValueError, RuntimeError) as error:
        raise InputError(f"--storage {shown}: {_line(error)}") from None


def _line(error: Exception) -> str:
    """The first sentence of an error that goes on with SQL and links."""
    return redact(" ".join(str(error).partition("\n(Background")[0].split()))


class LiveJournal(JournalStorage, BaseHeartbeat):
    """A journal file whose running trials give signs of life, as those of `RDBStorage` do.

    A sign is the time stamp of the file `<journal>.alive/<trial id>`. Whether it is old is decided by the
    file system's clock alone, so machines whose own clocks differ agree.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(MendedFile(path))
        self._signs = path.with_name(f"{path.name}.alive")
        self._callback = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)

    def record_heartbeat(self, trial_id: int) -> None:
        self._signs.mkdir(exist_ok=True)
        (self._signs / str(trial_id)).touch()

    def get_heartbeat_interval(self) -> int:
        return HEARTBEAT

    def get_heartbeat_stale_trial_callback(self) -> Callable[[Study, FrozenTrial], None]:
        return self._callback

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return []
        self._signs.mkdir(exist_ok=True)
        clock = self._signs / f"clock-{os.getpid()}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        return [trial._trial_id for trial in running if now - self._last_sign(trial._trial_id) > GRACE]

    def _last_sign(self, trial_id: int) -> float:
        """When a trial last gave a sign; one that gave none yet counts from now."""
        sign = self._signs / str(trial_id)
        sign.touch() if not sign.exists() else None
        return sign.stat().st_mtime


class MendedFile(JournalFileBackend):
    """A journal file from which a line that was cut short, by a full disk or a power cut, is taken away.

    Optuna would write its next line behind it, and could read neither ever after.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), JournalFileSymlinkLock(str(path)))
        self._mend()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except OSError:
            self._mend()
            raise

    def _mend(self) -> None:
        self._lock.acquire()
        try:
            with open(self._file_path, "rb+") as file:
                whole = file.read()
                if not whole.endswith(b"\n"):
                    file.truncate(whole.rfind(b"\n") + 1)
        finally:
            self._lock.release()
