"""`sparsegrad sweep` as a person meets it, with worker processes of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.sweep.records import SweepResult
from sparsegrad_cli.sweep.storage import open_storage
from sparsegrad_cli.sweep.study import load_study, open_study, study_names, study_result

from ..processes import wait_for
from ..sweep.fabricate import make_config
from ..sweep.studies import tiny_choices

SHORT = ("--max-steps", "6", "--eval-steps", "2", "--length", "16")
FT = ("--task", "cola", "--method", "ft", "--data", "demo")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    choices = tiny_choices(tmp_path_factory.mktemp("inputs"))
    return ["--model", choices["model"], "--data", choices["data"], "--task", "cola"]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def standing(results: Path) -> SweepResult | None:
    """The only study of a results folder, as it is in the journal."""
    if not (results / "sweeps" / "journal.log").exists():
        return None
    storage = open_storage(None, results, read_only=True)
    names = study_names(storage)
    return study_result(load_study(storage, names[0])) if names else None


def wait_until(results: Path, what: Callable[[SweepResult], bool]) -> SweepResult:
    """Waits until the study is so."""

    def found() -> SweepResult | None:
        result = standing(results)
        return result if result is not None and what(result) else None

    return wait_for(found)


@pytest.mark.usefixtures("any_memory")
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
        "2",
        "--workers",
        "2",
    ]
    code, out, err = call(*command, "--dry-run", "--json")
    assert (code, err) == (0, "")
    assert [study["to_do"] for study in json.loads(out)["studies"]] == [2, 2]
    assert not (tmp_path / "results").exists()

    code, out, err = call(*command)
    assert code == 0, err
    assert "cola ft: trial" in err
    assert "2 of 2 done" in err
    assert "--params results/sweeps/" in out

    files = [*(tmp_path / "results" / "sweeps").glob("*/*.json")]
    written = {file: file.stat().st_mtime_ns for file in files}
    code, out, err = call(*command, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert {file: file.stat().st_mtime_ns for file in files} == written  # made elsewhere, perhaps
    studies = json.loads(out)["studies"]
    assert [study["method"] for study in studies] == ["ft", "lora"]
    for study in studies:
        assert study["trials"]["complete"] + study["trials"]["pruned"] + study["trials"]["failed"] == 2
        assert set(study["best"]["params"]) == {"learning_rate", "batch_size"}
        folder = tmp_path / "results" / "sweeps" / study["id"]
        assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
        assert len(list((folder / "runs").iterdir())) == 2

    code, out, err = call("sweep", "show")
    assert code == 0, err
    assert "best parameters" in out.lower()
    assert out.count("complete") >= 4
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


def test_a_killed_worker_and_ctrl_c_cost_no_trial_and_resume_ends_the_study(begin, call, inputs, tmp_path):
    results = tmp_path / "results"
    search = (*inputs, *SHORT, "--method", "ft", "--select-on", "holdout", "--trials", "4")
    sweep = begin("sweep", *search)
    found = wait_until(results, lambda result: any(trial.run for trial in result.trials))
    pid = int(str(found.trials[0].worker).split()[1])
    os.kill(pid, signal.SIGKILL)
    wait_until(results, lambda result: any(t.run and f" {pid} " not in str(t.worker) for t in result.trials))
    sweep.kill(signal.SIGINT)
    code, _, err = sweep.end()
    assert code == 130, err
    assert "was killed by signal 9; started again" in err
    assert "sparsegrad sweep --resume goes on" in err
    assert "Traceback" not in err
    stopped = standing(results)
    assert stopped is not None
    assert stopped.count("running") == 0
    assert stopped.trials[0].params == found.trials[0].params

    code, out, err = call("sweep", "--resume", "--then-finetune", "--json", "--quiet")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["trials"]["complete"] + document["trials"]["pruned"] == 4
    assert document["select_on"] == "holdout"
    assert [run["seed"] for run in document["runs"]] == [0, 1, 2]
    assert {run["status"] for run in document["runs"]} == {"done"}
    assert all("best of 4 on holdout" in run["hyperparameters_from"] for run in document["runs"])
    (entry,) = yaml.safe_load((tmp_path / "results" / "sweeps" / "best.yaml").read_text())
    assert entry["params"] == document["best"]["params"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A results folder with a study that has no trial yet."""
    results = tmp_path / "results"
    open_study(open_storage(None, results), make_config("lora"))
    return results


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--task", "cola"], "--task cola"),
        (["--method", "ft"], "--method ft"),
        (["--model", "elsewhere"], "--model elsewhere"),
        (["--rank", "3"], "--rank 3"),
        (["--learning-rate", "1e-3"], "--learning-rate"),
        (["--density", "0.01"], "--density"),
        (["--max-steps", "7777"], "--max-steps 7777"),
        (["--seed", "1"], "--seed 1"),
        (["--select-on", "holdout"], "--select-on holdout"),
        (["--pruner", "none"], "--pruner none"),
    ],
    ids=str,
)
def test_resume_refuses_options_that_contradict_the_stored_study(call, study, arguments, option):
    code, out, err = call("sweep", "--resume", "--dry-run", *arguments)
    assert (code, out) == (2, "")
    assert option in err
    assert len(err.splitlines()) == 1


def test_resume_refuses_another_space(call, study, tmp_path):
    (tmp_path / "space.yaml").write_text("batch_size: [64]\n")
    code, _, err = call("sweep", "--resume", "--dry-run", "--space", "space.yaml")
    assert (code, "--space space.yaml contradicts" in err) == (2, True)


def test_resume_takes_options_that_are_those_of_the_study(call, study):
    same = ("--task", "rte", "--method", "lora", "--model", "demo", "--seed", "0", "--rank", "7")
    for arguments in ((), same):
        code, out, err = call("sweep", "--resume", *arguments, "--trials", "3", "--dry-run", "--json")
        assert (code, err) == (0, "")
        (planned,) = json.loads(out)["studies"]
        assert planned["to_do"] == 3


def test_studies_are_shown_where_nothing_can_be_written(call, study, monkeypatch):
    """As in a results folder that belongs to someone else, or on a read-only file system."""

    def refuse(*arguments: object, **how: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fcntl.flock", refuse)  # as the journal's lock is taken
    for command in (("show",), ("--resume", "--dry-run")):
        code, out, err = call("sweep", *command, "--json")
        assert (code, err) == (0, "")
        assert "demo rte lora" in out


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("command", [["sweep", "--resume"], ["sweep", "show"]])
def test_no_message_shows_a_password(call, tmp_path, command, debug):
    url = f"sqlite:///{tmp_path}/a.db?password=sesame4711"
    code, out, err = call(*debug, *command, "--storage", url)
    assert code == 2
    assert "password=***" in err
    assert "sesame4711" not in out + err


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
