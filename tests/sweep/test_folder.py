"""The folders of studies: written by several processes, read for a report."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from sparsegrad_cli.errors import WorkError
from sparsegrad_cli.sweep.records import SWEEPS, read_sweeps
from sparsegrad_cli.sweep.run import write_sweep

from .fabricate import make_config, make_sweep, make_trial, typical_trials
from .fabricate import write_sweep as fabricate_sweep

SWEEP = make_sweep(make_config(), *typical_trials(), learning_rate=0.9, batch_size=0.1)


def test_what_was_written_is_read_again_once(tmp_path):
    folder = fabricate_sweep(tmp_path, SWEEP)
    assert folder == tmp_path / "sweeps" / SWEEP.result.id
    assert SWEEPS.owns(folder)
    found = read_sweeps([tmp_path, tmp_path / "sweeps", folder])
    assert found == (replace(SWEEP, folder=folder),)


def test_writing_again_replaces_what_was_there(tmp_path):
    write_sweep(tmp_path, make_sweep(SWEEP.config, make_trial(0), asked=5))
    write_sweep(tmp_path, SWEEP)
    assert [read.result for read in read_sweeps([tmp_path])] == [SWEEP.result]


def write_often(results: Path, trials: int) -> None:
    for _ in range(8):
        write_sweep(results, make_sweep(SWEEP.config, *typical_trials()[:trials]))


def test_several_processes_may_write_while_another_reads(tmp_path):
    write_often(tmp_path, 1)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_often, args=(tmp_path, trials)) for trials in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        (read,) = read_sweeps([tmp_path])
        assert len(read.result.trials) in (1, 2)
    assert [writer.exitcode for writer in writers] == [0, 0]


def test_of_copies_of_a_study_the_one_that_got_furthest_is_read(tmp_path):
    for name, trials in (("a", 3), ("b", 8), ("c", 5)):
        fabricate_sweep(tmp_path / name, make_sweep(SWEEP.config, *typical_trials()[:trials]))
    (read,) = read_sweeps([tmp_path / name for name in "abc"])
    assert read.folder.is_relative_to(tmp_path / "b")


def test_a_damaged_study_is_named_and_left_out(tmp_path):
    fabricate_sweep(tmp_path, SWEEP)
    other = make_sweep(make_config("ft"), *typical_trials())
    path = fabricate_sweep(tmp_path, other) / "result.json"
    path.write_text("{")
    with pytest.warns(UserWarning, match=other.result.id):
        assert [read.result for read in read_sweeps([tmp_path])] == [SWEEP.result]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"cannot write to .*file"):
        write_sweep(tmp_path / "file", SWEEP)
