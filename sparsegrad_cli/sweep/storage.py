"""Where studies live: a journal file by default, or any database that SQLAlchemy knows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from ..errors import InputError, WorkError
from ..store.redact import redact
from .database import LiveDatabase, open_database
from .journal import LiveJournal, check_journal

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
