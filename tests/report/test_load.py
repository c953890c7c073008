"""Result folders read into one frame; what cannot be read is named and left out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.load import load_results, read_log, read_runs

from .runs import write_run


def test_runs_are_found_from_above_from_within_and_once(tmp_path):
    run = write_run(tmp_path / "a")
    write_run(tmp_path / "b", "lora")
    assert len(read_runs([tmp_path])[0]) == 2
    assert len(read_runs([run])[0]) == 1
    (tmp_path / "a" / "link").symlink_to(tmp_path)  # links are followed, but not in a circle
    assert len(read_runs([run, tmp_path, tmp_path / "a"])[0]) == 2


def test_values_are_those_of_the_files(tmp_path):
    write_run(tmp_path, "lora", 0.5, seed=3, epochs=2.0)
    (run,) = read_runs([tmp_path])[0].to_dict("records")
    assert (run["method"], run["seed"], run["epochs"], run["epochs_taken"]) == ("lora", 3, 2.0, 0.0)
    assert (run["score"], run["rank"], run["trainable"], run["max_steps"]) == (0.5, 7, 15_797_378, None)
    assert run["hardware"] == "x86_64, 2 threads"


def test_a_seed_that_was_run_twice_counts_once_and_runs_without_score_are_counted(tmp_path):
    write_run(tmp_path, "ft", 0.5, data="hub")
    write_run(tmp_path, "ft", 0.9, data="/elsewhere", epochs=20.0)
    for seed, status in enumerate(("diverged", "interrupted", "interrupted"), 1):
        write_run(tmp_path, "ft", seed=seed, status=status)
    results = load_results([tmp_path])
    assert len(results.done) == 1
    assert results.left_out == {"interrupted": 2, "diverged": 1}


def test_epochs_that_max_steps_overrides_make_no_second_run(tmp_path):
    for epochs in (1.0, 2.0):
        write_run(tmp_path, epochs=epochs, max_steps=10)
    assert len(load_results([tmp_path]).done) == 1


@pytest.mark.parametrize("name", ["config.json", "result.json", "environment.json"])
def test_a_folder_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path, name):
    bad = write_run(tmp_path, seed=1)
    write_run(tmp_path, score=0.5)
    (bad / name).write_text("{")
    report = build_report([tmp_path])
    (message,) = report.results.unreadable
    assert str(bad / name) in message
    assert [row.method for row in report.groups[0].rows] == ["ft"]
    assert any(str(bad / name) in note for note in report.notes)


@pytest.mark.parametrize("runs", [1, 3])
def test_folders_in_which_nothing_can_be_read_are_bad_input(tmp_path, runs):
    for seed in range(runs):
        (write_run(tmp_path, seed=seed) / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"nothing in it can be read: .*config\.json: ") as told:
        build_report([tmp_path])
    assert ("and 2 more" in str(told.value)) == (runs == 3)


def test_a_score_that_is_no_number_is_left_out(tmp_path):
    bad = write_run(tmp_path, seed=1)
    stored = json.loads((bad / "result.json").read_text())
    (bad / "result.json").write_text(json.dumps({**stored, "score": None}))
    write_run(tmp_path)
    results = load_results([tmp_path])
    assert (len(results.done), len(results.unreadable)) == (1, 1)


def test_a_missing_folder_and_one_without_runs_are_bad_input(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no run in it"):
        load_results([tmp_path])


def test_a_damaged_log_is_named_with_its_line(tmp_path):
    run = write_run(tmp_path)
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        read_log(run, "accuracy")
    (run / "metrics.jsonl").write_text(
        '{"step": 2, "loss": 0.5}\n{"step": 1, "selection": {"accuracy": 0.7}}\n'
    )
    log = read_log(run, "accuracy")
    assert log["step"].tolist() == [1, 2]
    assert log["score"].dropna().tolist() == [0.7]


def test_reporting_loads_neither_torch_nor_transformers(tmp_path):
    write_run(tmp_path, "sparsegrad", 0.5)
    write_run(tmp_path, "lora", 0.5)
    code = (
        "import sys; from pathlib import Path; from sparsegrad_cli.report import build_report; "
        f"build_report([Path({str(tmp_path)!r})]).write(Path({str(tmp_path)!r}), ['md', 'csv', 'html']); "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
