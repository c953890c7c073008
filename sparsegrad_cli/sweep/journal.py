"""A journal file as a storage: it survives many processes, kills and full disks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from optuna import Study
from optuna.storages import JournalStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from . import liveness

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
