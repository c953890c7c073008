"""`sparsegrad sweep` with two workers whose study is in a real PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsegrad_cli.sweep.records import read_sweeps

from .studies import tiny_choices


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a search with trials of a second."""
    choices = tiny_choices(tmp_path / "inputs")
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {low: 1e-4, high: 1e-2, log: true}\nbatch_size: [4, 8]\n")
    what = ["--model", choices["model"], "--data", choices["data"], "--task", "cola", "--method", "ft"]
    short = ["--max-steps", "6", "--eval-steps", "2", "--length", "16", "--pruner", "none"]
    return [*what, *short, "--space", str(space)]


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_two_workers_do_what_is_asked_and_the_password_stays_secret(postgres, arguments, call, tmp_path):
    url, results = postgres.new_database(), tmp_path / "results"
    shared = ("--storage", url, "--output", str(results))
    code, out, err = call("sweep", *arguments, *shared, "--workers", "2", "--trials", "4", "--json")
    assert code == 0, err
    counts = json.loads(out)["trials"]
    assert counts["asked"] == 4
    assert counts["complete"] in (4, 5)  # a worker more than one may begin the last trial
    printed = out + err
    code, out, err = call("sweep", "show", *shared)
    assert code == 0, err
    assert postgres.password not in printed + out + err

    (read,) = read_sweeps([results])
    assert read.result.count("complete") == counts["complete"]
    assert (read.folder / "best.yaml").is_file()
    assert {path.name for path in (read.folder / "runs").iterdir()} >= {
        trial.run for trial in read.result.trials if trial.same_as is None
    }
    assert any(":***@127.0.0.1" in word for word in read.environment.command)
    assert files_with("***@", results)
    assert not files_with(postgres.password, results)


def test_a_server_that_does_not_let_us_in_ends_the_command_in_one_line_without_the_password(
    postgres, arguments, call, tmp_path
):
    url = postgres.url("nowhere")
    code, out, err = call("sweep", *arguments, "--storage", url, "--output", str(tmp_path / "results"))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert '"nowhere" does not exist' in err
    assert postgres.password not in err
    assert not (tmp_path / "results").exists()
