"""`sparsegrad sweep` as a person meets it, with worker processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.sweep.jobs import worker_name
from sparsegrad_cli.sweep.schema import SweepResult, TrialRecord
from sparsegrad_cli.sweep.storage import open_storage
from sparsegrad_cli.sweep.study import load_study, snapshot, study_names

from ..sweep.studies import tiny_choices

SHORT = ("--max-steps", "6", "--eval-steps", "2", "--length", "16")
FT = ("--task", "cola", "--method", "ft", "--data", "demo")
DEADLINE = 120.0  # seconds for anything that is waited for


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    choices = tiny_choices(tmp_path_factory.mktemp("inputs"))
    return ["--model", choices.model, "--data", choices.data, "--task", "cola"]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `sparsegrad sweep` with arguments, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def sweep(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from sparsegrad_cli.cli.main import main; main()", "sweep", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield sweep
    for process in started:
        process.kill()
        process.communicate()


def standing(results: Path) -> SweepResult | None:
    """The only study of a results folder, as it is in the journal."""
    if not (results / "sweeps" / "journal.log").exists():
        return None
    storage = open_storage(None, results)
    names = study_names(storage)
    return snapshot(load_study(storage, names[0])).result if names else None


def wait_for(results: Path, what: Callable[[SweepResult], bool]) -> SweepResult:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        found = standing(results)
        if found is not None and what(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {DEADLINE:.0f} s: {standing(results)}")


def training(result: SweepResult) -> list[TrialRecord]:
    """Trials whose runs have begun."""
    return [trial for trial in result.trials if trial.run and trial.state == "running"]


def test_from_a_search_to_the_runs_with_its_best_parameters(call, inputs, tmp_path):
    command = [
        "sweep",
        *inputs,
        *SHORT,
        "--method",
        "ft",
        "--method",
        "lora",
        "--trials",
        "3",
        "--workers",
        "2",
    ]
    code, out, err = call(*command, "--dry-run", "--json")
    assert (code, err) == (0, "")
    assert [study["to_do"] for study in json.loads(out)["studies"]] == [3, 3]
    assert not (tmp_path / "results").exists()

    code, out, err = call(*command)
    assert code == 0, err
    assert "cola ft: trial" in err
    assert "3 of 3 done" in err
    assert "--params results/sweeps/" in out

    files = [*(tmp_path / "results" / "sweeps").glob("*/*.json")]
    written = {file: file.stat().st_mtime_ns for file in files}
    code, out, err = call(*command, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert {file: file.stat().st_mtime_ns for file in files} == written  # made elsewhere, perhaps
    studies = json.loads(out)["studies"]
    assert [study["method"] for study in studies] == ["ft", "lora"]
    for study in studies:
        assert study["trials"]["complete"] + study["trials"]["pruned"] + study["trials"]["failed"] == 3
        assert set(study["best"]["params"]) == {"learning_rate", "batch_size"}
        folder = tmp_path / "results" / "sweeps" / study["id"]
        assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
        assert len(list((folder / "runs").iterdir())) == 3

    code, out, err = call("sweep", "show")
    assert code == 0, err
    assert "best parameters" in out
    assert out.count("complete") >= 6
    code, out, err = call("report", "--json")
    assert code == 0, err
    assert len(json.loads(out)["sweeps"]) == 2
    assert json.loads(out)["tables"] == []  # a trial is no run of a table

    code, out, err = call(
        *("finetune", *inputs, *SHORT, "--method", "ft", "--method", "lora", "--seed", "0", "--seed", "1"),
        *("--params", "results/sweeps/best.yaml", "--dry-run", "--json"),
    )
    assert code == 0, err
    for config in json.loads(out)["config"]:
        run = RunConfig.model_validate(config)
        best = next(study["best"] for study in studies if study["method"] == run.method)
        assert (run.learning_rate, run.batch_size) == tuple(best["params"].values())


def test_then_finetune_trains_the_best_on_three_seeds(call, inputs, tmp_path):
    command = ["sweep", *inputs, *SHORT, "--method", "ft", "--trials", "2", "--select-on", "holdout"]
    code, out, err = call(*command, "--then-finetune", "--json", "--quiet")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["select_on"] == "holdout"
    assert [run["seed"] for run in document["runs"]] == [0, 1, 2]
    assert {run["status"] for run in document["runs"]} == {"done"}
    assert all("best of 2 on holdout" in run["hyperparameters_from"] for run in document["runs"])
    (entry,) = yaml.safe_load((tmp_path / "results" / "sweeps" / "best.yaml").read_text())
    assert entry["params"] == document["best"]["params"]


def test_a_worker_killed_half_way_costs_no_trial(start, inputs, tmp_path):
    results = tmp_path / "results"
    sweep = start(*inputs, *SHORT, "--method", "ft", "--trials", "6", "--workers", "2")
    found = wait_for(
        results, lambda result: any(trial.run and trial.state == "running" for trial in result.trials)
    )
    victim = next(trial for trial in found.trials if trial.run and trial.state == "running")
    os.kill(int(str(victim.worker).split()[1]), signal.SIGKILL)
    _, err = sweep.communicate(timeout=DEADLINE)
    assert sweep.returncode == 0, err
    assert "was killed by signal 9; started again" in err
    final = standing(results)
    assert final is not None
    assert (final.asked, final.finished, final.count("complete", "pruned")) == (6, 6, 6)
    assert final.trials[victim.slot].params == victim.params
    assert "6 of 6 done" in err


def test_ctrl_c_puts_running_trials_back_and_resume_ends_them(start, call, inputs, tmp_path):
    results = tmp_path / "results"
    sweep = start(*inputs, *SHORT, "--method", "ft", "--trials", "4", "--workers", "2")
    wait_for(results, lambda result: any(trial.run for trial in result.trials))
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=DEADLINE)
    assert sweep.returncode == 130, err
    assert "stopped; sparsegrad sweep --resume goes on" in err
    assert "Traceback" not in err
    stopped = standing(results)
    assert stopped is not None
    assert stopped.count("running") == 0
    assert stopped.finished + stopped.count("waiting") == 4

    code, out, err = call("sweep", "--resume", "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["trials"]["complete"] + json.loads(out)["trials"]["pruned"] == 4


def test_workers_stop_when_their_parent_is_killed(start, inputs, tmp_path):
    results = tmp_path / "results"
    sweep = start(*inputs, "--max-steps", "4000", "--length", "16", "--method", "ft", "--trials", "2")
    found = wait_for(results, lambda result: any(trial.run for trial in result.trials))
    worker = next(trial.worker for trial in found.trials if trial.run)
    sweep.kill()
    wait_for(results, lambda result: result.count("waiting") == 2)
    assert worker != worker_name(sweep.pid)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "ft"], "which task? Give --task"),
        (["--task", "cola"], "which method? Give --method"),
        (["--task", "cola", "--all-tasks", "--method", "ft"], "--all-tasks and --task"),
        (["--task", "colla", "--method", "ft"], "did you mean cola?"),
        ([*FT, "--trials", "0"], "--trials"),
        ([*FT, "--pruner", "medain"], "--pruner"),
        ([*FT, "--rank", "3"], "--rank is not used by --method ft"),
        (
            [*FT, "--storage", "sqlite:///a.db", "--workers", "2"],
            "SQLite locks",
        ),
        ([*FT, "--storage", "nodb://u:secret@h/d"], "nodb://u:***@h/d"),
        (["--resume"], "no study in results/sweeps/journal.log"),
        (["show"], "no study in results/sweeps/journal.log"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
def test_what_cannot_be_searched_is_refused(call, tmp_path, arguments, says):
    code, out, err = call("sweep", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "secret" not in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "results").exists()
