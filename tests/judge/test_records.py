"""Logs of records: complete lines alone, whatever a kill or a full disk leaves."""

import resource

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.judge.records import RecordLog
from sparsegrad_cli.settings import Record


class Note(Record):
    text: str


def fill(log: RecordLog[Note], *texts: str) -> None:
    with log.appending() as append:
        for text in texts:
            append(Note(text=text))


def test_what_is_appended_is_read(tmp_path):
    log = RecordLog(tmp_path / "log.jsonl", Note)
    assert log.read() == []
    fill(log, "one\ntwo\u2028three")
    fill(log, "four")
    assert [note.text for note in log.read()] == ["one\ntwo\u2028three", "four"]


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_next_stands_alone(tmp_path):
    log = RecordLog(tmp_path / "log.jsonl", Note)
    fill(log, "one", "two")
    log.path.write_bytes(log.path.read_bytes()[:-5])
    assert [note.text for note in log.read()] == ["one"]
    fill(log, "three")
    assert [note.text for note in log.read()] == ["one", "three"]


def test_a_line_of_something_else_is_named(tmp_path):
    log = RecordLog(tmp_path / "log.jsonl", Note)
    log.path.write_text('{"text": "one"}\n{"txet": "two"}\n')
    with pytest.raises(InputError, match=r"log.jsonl:2: not written by sparsegrad"):
        log.read()


def test_a_folder_that_cannot_be_written_is_work_that_failed(tmp_path):
    with (
        pytest.raises(WorkError, match="cannot write to"),
        RecordLog(tmp_path / "no" / "log", Note).appending(),
    ):
        pass


def test_a_full_disk_is_one_error_and_leaves_complete_lines(tmp_path):
    log = RecordLog(tmp_path / "log.jsonl", Note)
    fill(log, "one", "cut short")
    log.path.write_bytes(log.path.read_bytes()[:-5])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # the next line fits in part
    try:
        with pytest.raises(WorkError, match="cannot write to"):
            fill(log, "two", "three" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.path.read_bytes().endswith(b'{"text":"two"}\n')
    fill(log, "four")
    assert [note.text for note in log.read()] == ["one", "two", "four"]


def test_an_error_of_other_work_is_not_taken_for_one_of_the_file(tmp_path):
    with pytest.raises(ConnectionError), RecordLog(tmp_path / "log.jsonl", Note).appending():
        raise ConnectionError("the hub is away")
