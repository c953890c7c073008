"""The command line as a person meets it: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparsegrad_cli.cli.main import VERBS, load_verb

from ..checkpoints import tiny_checkpoint
from ..planned import write_cola
from ..processes import wait_for
from ..report.runs import write_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "bert", "bert", layers=1))


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_cola(tmp_path_factory.mktemp("glue")))


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SHORT = (
    "--max-steps",
    "16",
    "--batch-size",
    "8",
    "--eval-steps",
    "8",
    "--learning-rate",
    "3e-3",
    "--length",
    "24",
)


def test_finetune_compares_methods_and_finds_finished_runs_again(call, model, glue, tmp_path):
    command = ["finetune", "--model", model, "--data", glue, "--task", "cola", *SHORT]
    command += [
        "--method",
        "lora",
        "--method",
        "sparsegrad",
        "--calibration-steps",
        "2",
        "--seed",
        "0",
        "--seed",
        "1",
    ]
    code, out, err = call(*command)
    assert code == 0, err
    assert "sparsegrad" in out
    assert "lora" in out
    assert "[4/4] cola sparsegrad seed 1" in err
    runs = list((tmp_path / "results" / "runs").iterdir())
    assert len(runs) == 4

    written = {run: (run / "result.json").stat().st_mtime_ns for run in runs}
    code, out, err = call(*command, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert {run: (run / "result.json").stat().st_mtime_ns for run in runs} == written
    document = json.loads(out)
    assert {run["method"] for run in document["runs"]} == {"lora", "sparsegrad"}
    assert {run["status"] for run in document["runs"]} == {"done"}
    assert document["summary"]

    code, out, err = call("report")
    assert code == 0, err
    assert "Matthews" in out or "matthews" in out
    assert "lora" in (tmp_path / "results" / "report.md").read_text()
    assert (tmp_path / "results" / "report.csv").exists()

    code, out, err = call("ls", "runs", "--json")
    assert len(json.loads(out)["runs"]) == 4


def test_calibrate_shows_the_concentration_and_finetune_takes_its_basis(call, model, glue, tmp_path):
    common = [
        "--model",
        model,
        "--data",
        glue,
        "--task",
        "cola",
        "--batch-size",
        "8",
        "--calibration-steps",
        "3",
    ]
    code, out, err = call("calibrate", *common, "--length", "24")
    assert code == 0, err
    assert "intermediate.dense" in out
    (basis,) = (tmp_path / "results" / "bases").glob("*.safetensors")
    code, out, err = call("calibrate", *common, "--length", "24", "--json")
    kinds = json.loads(out)["bases"][0]["kinds"]
    assert kinds["output.dense"]["shape"] == [32, 64]
    assert len(kinds["output.dense"]["spectrum"]["U"]) == 64
    assert kinds["output.dense"]["top1_energy_before"] > 0

    finetune = ["finetune", "--method", "sparsegrad", *common, *SHORT]
    made = basis.stat().st_mtime_ns
    assert call(*finetune)[0] == 0
    assert basis.stat().st_mtime_ns == made
    assert len(list(basis.parent.glob("*.safetensors"))) == 1

    without_steps = [word for word in finetune if word not in ("--calibration-steps", "3")]
    code, out, err = call(*without_steps, "--basis", str(basis), "--json")
    assert code == 0, err
    run = json.loads(out)["runs"][0]
    config = json.loads((tmp_path / "results" / "runs" / run["id"] / "config.json").read_text())
    assert (config["basis"], len(config["basis_revision"])) == (str(basis), 64)
    assert config["calibration_steps"] is None


def test_calibrate_refuses_a_precision_that_changes_nothing(call, model, glue):
    code, _, err = call(
        "calibrate", "--model", model, "--data", glue, "--task", "cola", "--precision", "bf16"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "--precision bf16" in err


def test_the_program_alone_prints_its_help_and_nothing_else(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert out == call("--help")[1]


def test_dry_run_says_what_would_be_done_and_makes_nothing(call, model, glue, tmp_path):
    command = ["finetune", "--model", model, "--data", glue, "--task", "cola", "--method", "ft", "--dry-run"]
    code, out, err = call(*command)
    assert code == 0, err
    assert "cola ft seed 0  to do" in out
    assert "train 64, validation 24" in out
    assert re.search(r"^ft( +\d\S* .B){5}$", out, re.MULTILINE)
    assert re.search(r"^time +unknown for 1 of 1 runs", out, re.MULTILINE)
    document = json.loads(call(*command, "--json")[1])
    assert [cell["status"] for cell in document["cells"]] == ["to do"]
    memory = document["estimate"]["runs"][0]["memory"]
    assert memory["peak"] >= memory["weights"] + memory["moments"] + memory["gradients"] > 0
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--task", "colla"], "no task 'colla'"),
        (["--method", "loar"], "no method 'loar'"),
        (["--model", "./nowhere"], "nowhere"),
        (["--device", "tpu"], "'tpu'"),
        (["--device", "cuda"], "no CUDA device"),
        (["--data", "./nowhere"], "nowhere"),
        (["--task", "rte"], "rte"),
        (["--density", "0"], "--density must be above 0"),
        (["--density", "1.01"], "at most 1"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batchsize", "8"], "--batchsize"),
        (["--epochs", "two"], "--epochs"),
        (["--task", "own.yaml"], "own.yaml"),
        (["--basis", "foreign.safetensors"], "made from"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_leaves_nothing(change, message, call, model, glue, tmp_path):
    from sparsegrad_cli.store.basis_file import save_basis
    from tests.core.models import identity_basis, tiny_model

    save_basis(identity_basis(tiny_model()), tmp_path / "foreign.safetensors")
    (tmp_path / "own.yaml").write_text("name: own\ntext: sentence\n")
    arguments = {
        "--model": model,
        "--data": glue,
        "--task": "cola",
        "--method": "sparsegrad",
        "--device": "cpu",
    }
    arguments[change[0]] = change[1]
    code, out, err = call("finetune", *(word for pair in arguments.items() for word in pair))
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("sparsegrad: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"sentence": "a dog", "idx": 64}', "validation.jsonl:25: "),
        ('{"sentence": "a dog", "label": 7, "idx": 64}', "validation.jsonl:25: label 7 is not one of"),
        ('{"sentenc": "a dog", "label": 1, "idx": 64}', "validation.jsonl:25: "),
        ('{"sentence": "a dog", "label"', "validation.jsonl:25: "),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(row, message, call, model, tmp_path):
    import gzip

    folder = write_cola(tmp_path / "glue")
    packed = folder / "cola" / "validation.jsonl.gz"
    plain = packed.with_suffix("")
    plain.write_text(gzip.decompress(packed.read_bytes()).decode() + row + "\n")
    packed.unlink()
    code, out, err = call(
        "finetune", "--model", model, "--data", str(folder), "--task", "cola", "--method", "ft"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "results").exists()


def test_a_results_folder_that_cannot_be_made_is_one_line(call, model, glue, tmp_path):
    (tmp_path / "taken").write_text("a file")
    command = ["finetune", "--model", model, "--data", glue, "--task", "cola", "--method", "ft", "--quiet"]
    code, out, err = call(*command, "--output", "taken")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "cannot write to taken" in err
    assert "--output" in err


def test_debug_shows_no_password(call, tmp_path):
    storage = f"sqlite:///{tmp_path}/no/study.db?sslpassword=hunter2"
    code, out, err = call("--debug", "sweep", "show", "--storage", storage)
    assert code != 0
    assert "Traceback" in err
    assert "hunter2" not in out + err


def test_an_unreadable_run_is_named_and_the_report_goes_on(call, tmp_path):
    good, bad = write_run(tmp_path), write_run(tmp_path, seed=1)
    (bad / "result.json").write_text("{")
    code, out, err = call("report", str(tmp_path), "--json")
    assert code == 0, err
    assert str(bad / "result.json") in out
    assert str(good / "result.json") not in out


def test_an_unreadable_sweep_is_one_line_on_stderr(call, tmp_path):
    folder = tmp_path / "results" / "sweeps" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"sweep": 1}')
    (folder / "result.json").write_text("{")
    err = call("sweep", "show")[2]
    assert f"sparsegrad: left out: {Path('results/sweeps') / folder.name}" in err
    assert "Warning" not in err


def test_debug_shows_the_traceback(call):
    assert "Traceback" not in call("finetune", "--task", "colla", "--method", "ft")[2]
    assert "Traceback" in call("finetune", "--task", "colla", "--method", "ft", "--debug")[2]


def test_the_help_of_every_verb_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from sparsegrad_cli.cli.main import VERBS, app\n"
        "for verb in ([], *([verb] for verb in VERBS)):\n"
        "    app([*verb, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'peft', 'pandas', 'optuna', 'scipy'}\n"
        "sys.exit(f'imported {found}' if (found := heavy & set(sys.modules)) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--density" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_of_each_what_its_own_help_says(verb):
    assert " ".join(load_verb(verb).help.split("\n\n")[0].split()) == VERBS[verb]


@pytest.mark.parametrize(
    ("thing", "expected"), [("methods", "sparsegrad"), ("tasks", "wnli"), ("models", "demo")]
)
def test_ls(thing, expected, call):
    code, out, _ = call("ls", thing)
    assert code == 0
    assert expected in out
    assert json.loads(call("ls", thing, "--json")[1])[thing]


def test_a_run_killed_with_kill_9_goes_on_and_ends_as_one_that_was_not(call, begin, model, glue, tmp_path):
    command = ["finetune", "--model", model, "--data", glue, "--task", "cola", "--method", "sparsegrad"]
    command += ["--calibration-steps", "2", *SHORT, "--save", "none", "--quiet"]
    command[command.index("--max-steps") + 1] = "40"
    code, out, err = call(*command, "--output", "whole", "--json")
    assert code == 0, err
    expected = json.loads(out)["runs"][0]

    killed = begin(*command, "--output", "cut", "--checkpoint-minutes", "0")
    folder = tmp_path / "cut" / "runs" / expected["id"]
    wait_for(lambda: [*folder.glob("checkpoints/checkpoint-*/trainer_state.json")], killed.is_alive)
    killed.kill()
    assert killed.end()[0] == -signal.SIGKILL
    assert not (folder / "result.json").exists()

    code, out, err = call(*command, "--output", "cut", "--json")
    assert code == 0, err
    found = json.loads(out)["runs"][0]
    for key in ("score", "metrics", "selection_score", "best_step", "steps", "parameters"):
        assert found[key] == expected[key]
    assert json.loads((folder / "environment.json").read_text())["restarts"] == 1


def test_ctrl_c_says_how_to_go_on(begin, model, glue, tmp_path):
    command = ["finetune", "--model", model, "--data", glue, "--task", "cola", "--method", "ft"]
    process = begin(*command, "--length", "24", "--epochs", "1000", "--patience", "0")
    wait_for(lambda: any(file.read_text() for file in tmp_path.glob("results/runs/*/metrics.jsonl")))
    process.kill(signal.SIGINT)
    code, _, err = process.end()
    assert code == 130
    assert err.rstrip().endswith("sparsegrad: stopped; the same command goes on from the last checkpoint")
    assert "Traceback" not in err
    (result,) = tmp_path.glob("results/runs/*/result.json")
    assert json.loads(result.read_text())["status"] == "interrupted"


def test_a_busy_machine_is_told_in_one_line_before_work_begins(call, monkeypatch):
    monkeypatch.setattr("sparsegrad_cli.hardware.busy_cores", lambda: 1.5)
    for arguments, lines in (([], 2), (["--quiet"], 1), (["--dry-run"], 1)):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        code, out, err = call("bench", "--model", "./nowhere", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", lines)
        assert ("cores busy: training is slower, speed figures will be low" in err) == (lines == 2)
