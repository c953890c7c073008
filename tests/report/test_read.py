"""Which folders are runs, and what is said of those that are broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError, UnreadableResultWarning
from sparsegrad_cli.report import read_runs

from .runs import write_run


def test_runs_are_found_from_above_and_from_within(tmp_path):
    run = write_run(tmp_path / "project" / "results")
    write_run(tmp_path / "project" / "results", seed=1)
    for folder in (tmp_path, tmp_path / "project" / "results", tmp_path / "project" / "results" / "runs"):
        assert sorted(read_runs([folder])["seed"]) == [0, 1]
    assert list(read_runs([run])["seed"]) == [0]


def test_a_run_found_twice_counts_once(tmp_path):
    run = write_run(tmp_path)
    assert len(read_runs([tmp_path, run, tmp_path / "runs"])) == 1


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    write_run(tmp_path / "scratch")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "runs").symlink_to(tmp_path / "scratch" / "runs")
    (tmp_path / "results" / "self").symlink_to(tmp_path / "results")
    assert len(read_runs([tmp_path / "results"])) == 1


def test_the_config_of_a_saved_model_is_not_taken_for_a_run(tmp_path):
    run = write_run(tmp_path)
    for folder in (run / "model", tmp_path / "checkpoints" / "bert"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"hidden_size": 384}')
    assert len(read_runs([tmp_path])) == 1


def test_values_are_those_of_the_files(tmp_path):
    write_run(tmp_path, "lora", 0.25, seed=3, peak_memory_bytes=None, checkpoint="hub:x@abc", rank=9)
    (run,) = read_runs([tmp_path]).to_dict("records")
    assert (run["method"], run["seed"], run["score"], run["rank"]) == ("lora", 3, 0.25, 9)
    assert run["checkpoint"] == "hub:x@abc"
    assert run["metrics"] == {"matthews_correlation": 0.25}
    assert run["peak_memory_bytes"] is None
    assert run["max_steps"] is None


def test_a_run_without_result_is_unfinished_and_no_error(tmp_path):
    run = write_run(tmp_path)
    (run / "result.json").unlink()
    (run / "environment.json").unlink()  # killed between the first file and the second
    (found,) = read_runs([tmp_path]).to_dict("records")
    assert (found["status"], found["method"], found["score"]) == ("unfinished", "ft", None)


def test_a_missing_folder_a_file_and_a_folder_without_runs(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, problem in [("nowhere", "no such folder"), ("empty", "no run in it"), ("file", "as a folder")]:
        with pytest.raises(InputError, match=problem) as error:
            read_runs([tmp_path / name])
        assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("name", ["result.json", "config.json", "environment.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"acc": 0.9}', "\x00\xff"])
def test_a_broken_or_foreign_file_is_named(tmp_path, name, content):
    run = write_run(tmp_path)
    (run / name).write_text(content)
    with pytest.raises(InputError, match="not one that sparsegrad wrote") as error:
        read_runs([tmp_path])
    assert str(run / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_key_that_is_wrong_is_named(tmp_path):
    run = write_run(tmp_path)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "score": "high"}))
    with pytest.raises(InputError, match=r"score: .*number"):
        read_runs([tmp_path])


def test_the_result_of_another_run_is_refused(tmp_path):
    first, second = write_run(tmp_path), write_run(tmp_path, seed=1)
    (first / "result.json").write_bytes((second / "result.json").read_bytes())
    with pytest.warns(UnreadableResultWarning, match=r"result\.json: this is the result of"):
        assert list(read_runs([tmp_path])["folder"]) == [second]


def test_a_run_that_cannot_be_read_is_named_and_left_out(tmp_path):
    """As a run that an earlier version wrote, whose loss was NaN."""
    good, bad = write_run(tmp_path), write_run(tmp_path, seed=1)
    result = json.loads((bad / "result.json").read_text())
    (bad / "result.json").write_text(json.dumps({**result, "metrics": {"loss": None}}))
    with pytest.warns(UnreadableResultWarning, match=f"{bad.name}/result.json"):
        assert list(read_runs([tmp_path])["folder"]) == [good]


def test_a_result_without_its_configuration_is_refused(tmp_path):
    run = write_run(tmp_path)
    (run / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: missing"):
        read_runs([tmp_path])


def test_reporting_loads_neither_torch_nor_transformers():
    code = (
        "import sys, sparsegrad_cli.report; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"
