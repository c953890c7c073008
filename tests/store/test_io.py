"""Files are whole or not there, whoever writes at once; the cache is shared; passwords are not shown."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sparsegrad_cli.errors import DiskError, WorkError
from sparsegrad_cli.store.io import add_cache_folder, redact, write_atomically, write_error, write_text


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_text(path, "before")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, fail)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["before"]


def test_writers_with_one_process_id_never_share_a_temporary_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in containers on several hosts with one disk
    path, texts = tmp_path / "result.json", [str(number) * 100_000 for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: [write_text(path, text) for _ in range(10)], texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
    )
    write_text(tmp_path / "result.json", "text")
    assert synced == [False, True]


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch) -> None:
    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_text(tmp_path / "result.json", "text")
    assert (tmp_path / "result.json").read_text() == "text"


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_others_read_what_the_user_lets_them_read(tmp_path, mask) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "text")
        add_cache_folder(tmp_path / "cache" / "tokens", lambda folder: (folder / "rows").write_text("rows"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "cache" / "tokens").stat().st_mode) == 0o777 & ~mask


def test_the_first_to_add_a_cached_folder_counts(tmp_path) -> None:
    def add_meanwhile(temporary: Path) -> None:
        (temporary / "rows").write_text("second")
        add_cache_folder(tmp_path / "tokens", lambda folder: (folder / "rows").write_text("first"))

    add_cache_folder(tmp_path / "tokens", add_meanwhile)
    assert (tmp_path / "tokens" / "rows").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="SPARSEGRAD_CACHE"):
        add_cache_folder(tmp_path / "file" / "tokens", lambda folder: None)


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.ENOSPC, "make room"), (errno.EACCES, "--output"), (errno.EROFS, "make room")],
)
def test_an_error_of_writing_names_the_place_and_the_way_out(number, way_out) -> None:
    error = write_error(Path("results/runs"), OSError(number, os.strerror(number)))
    assert isinstance(error, DiskError)
    assert "results/runs" in str(error)
    assert way_out in str(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:secret@db:5432/optuna", "postgresql://ada:***@db:5432/optuna"),
        ("at postgresql+psycopg://ada:se@cr:et@db/x now", "at postgresql+psycopg://ada:***@db/x now"),
        ("mysql://h/db?user=ada&password=secret&ssl=1", "mysql://h/db?user=ada&password=***&ssl=1"),
        ("postgresql://db/x?sslpassword=secret", "postgresql://db/x?sslpassword=***"),
        ("mysql://db/x?a=1;passwd=secret;b=2", "mysql://db/x?a=1;passwd=***;b=2"),
        (
            "create_engine('postgresql://db/x?Password=secret')",
            "create_engine('postgresql://db/x?Password=***')",
        ),
        ("postgresql://db/optuna", "postgresql://db/optuna"),
        ("results/sweeps/journal.log", "results/sweeps/journal.log"),
    ],
)
def test_a_password_is_not_shown(text, shown) -> None:
    assert redact(text) == shown
