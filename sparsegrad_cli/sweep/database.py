"""A database as a storage, such as a PostgreSQL server that many machines reach."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib.util import find_spec

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from . import liveness

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
