"""What a sweep leaves on disk, and what is read of it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from sparsegrad_cli.errors import UnreadableResultWarning, WorkError
from sparsegrad_cli.sweep.folder import SWEEPS, ReadSweep, read_sweeps, sweep_folder, write_sweep

from ..report.runs import write_run
from .fabricate import ENVIRONMENT, make_config, make_sweep, make_trial, typical_trials

SWEEP = make_sweep(make_config(), *typical_trials(), learning_rate=0.9, batch_size=0.1)


def test_what_was_written_is_read_again_once(tmp_path):
    folder = write_sweep(tmp_path, SWEEP, ENVIRONMENT)
    assert folder == sweep_folder(tmp_path, SWEEP.config) == tmp_path / "sweeps" / SWEEP.result.id
    found = read_sweeps([tmp_path, tmp_path / "sweeps", folder])
    assert found == (ReadSweep(SWEEP, folder, ENVIRONMENT),)


def test_writing_again_takes_the_place_of_what_was_there(tmp_path):
    write_sweep(tmp_path, make_sweep(SWEEP.config, make_trial(0), asked=5), ENVIRONMENT)
    folder = write_sweep(tmp_path, SWEEP, ENVIRONMENT)
    assert [read.sweep for read in read_sweeps([tmp_path])] == [SWEEP]
    assert sorted(path.name for path in folder.iterdir() if path.name != "lock") == [
        "config.json",
        "environment.json",
        "result.json",
    ]


def write_often(results: Path, trials: int) -> None:
    for _ in range(20):
        write_sweep(results, make_sweep(SWEEP.config, *typical_trials()[:trials]), ENVIRONMENT)


def test_several_processes_may_write_while_another_reads(tmp_path):
    write_often(tmp_path, 1)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_often, args=(tmp_path, trials)) for trials in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        (read,) = read_sweeps([tmp_path])
        assert len(read.sweep.result.trials) in (1, 2)
    assert [writer.exitcode for writer in writers] == [0, 0]


def test_a_sweep_is_told_from_runs_before_it_has_a_result(tmp_path):
    folder = write_sweep(tmp_path, SWEEP, ENVIRONMENT)
    (folder / "result.json").unlink()
    assert SWEEPS.owns(folder)
    assert read_sweeps([tmp_path]) == ()
    assert not SWEEPS.owns(write_run(tmp_path))
    assert not SWEEPS.owns(tmp_path / "nowhere")


def test_of_copies_of_a_study_the_one_that_got_furthest_is_read(tmp_path):
    for name, trials in (("a", 3), ("b", 8), ("c", 5)):
        write_sweep(tmp_path / name, make_sweep(SWEEP.config, *typical_trials()[:trials]), ENVIRONMENT)
    (read,) = read_sweeps([tmp_path / name for name in "abc"])
    assert read.folder.is_relative_to(tmp_path / "b")


BROKEN = ("", "{", "[]", '{"sweep": 1}', "\x00\xff")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("result.json", content) for content in BROKEN),
        *(("environment.json", content) for content in BROKEN),
        ("config.json", '{"sweep": 1}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    path = write_sweep(tmp_path, SWEEP, ENVIRONMENT) / name
    path.write_text(content)
    with pytest.warns(UnreadableResultWarning, match="not one that sparsegrad wrote") as warned:
        assert read_sweeps([tmp_path]) == ()
    (message,) = (str(warning.message) for warning in warned)
    assert str(path) in message
    assert "\n" not in message


def test_the_result_of_another_study_is_refused(tmp_path):
    folder = write_sweep(tmp_path, SWEEP, ENVIRONMENT)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "id": "0" * 16}))
    with pytest.warns(UnreadableResultWarning, match=r"result\.json: this is the result of 0{16}"):
        assert read_sweeps([tmp_path]) == ()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"cannot write to .*file"):
        write_sweep(tmp_path / "file", SWEEP, ENVIRONMENT)
