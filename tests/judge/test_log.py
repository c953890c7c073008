"""Logs: whole lines only, whatever a kill leaves."""

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.judge.log import Log
from sparsegrad_cli.store.schema import Record


class Note(Record):
    text: str


def fill(log: Log[Note], *texts: str) -> None:
    with log.appending() as append:
        for text in texts:
            append(Note(text=text))


def test_what_is_appended_is_read(tmp_path):
    log = Log(tmp_path / "log.jsonl", Note)
    assert log.read() == []
    fill(log, "one\ntwo\u2028three")
    fill(log, "four")
    assert [note.text for note in log.read()] == ["one\ntwo\u2028three", "four"]


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_next_stands_alone(tmp_path):
    log = Log(tmp_path / "log.jsonl", Note)
    fill(log, "one", "two")
    log.path.write_bytes(log.path.read_bytes()[:-5])
    assert [note.text for note in log.read()] == ["one"]
    fill(log, "three")
    assert [note.text for note in log.read()] == ["one", "three"]


def test_a_line_of_something_else_is_named(tmp_path):
    log = Log(tmp_path / "log.jsonl", Note)
    log.path.write_text('{"text": "one"}\n{"txet": "two"}\n')
    with pytest.raises(InputError, match=r"log.jsonl:2: not one that sparsegrad wrote"):
        log.read()


def test_a_folder_that_cannot_be_written_is_work_that_failed(tmp_path):
    with pytest.raises(WorkError, match="cannot write to"), Log(tmp_path / "no" / "log", Note).appending():
        pass
