"""From `finetune --predict-test` to `report --glue-zip`, as a person types it."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from pathlib import Path

import pytest

from sparsegrad_cli.tasks import get_task, leaderboard, text_tasks

from ..checkpoints import tiny_checkpoint
from ..report.runs import write_run
from ..tasks.glue_files import TEST_ROWS, rows_of, shrink_leaderboard, write_jsonl_folder, write_test_splits

SHORT = ["--max-steps", "2", "--batch-size", "4", "--length", "16", "--learning-rate", "1e-3", "--quiet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "bert", "bert", layers=1))


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("glue")
    for task in leaderboard():
        write_jsonl_folder(folder, get_task(task), rows_of(get_task(task), 8))
        write_test_splits(folder, task)
    return str(folder)


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("any_memory")
def test_tasks_of_each_kind_make_a_submission(call, model, glue, tmp_path, monkeypatch):
    """Of nine tasks: with one test split and with three, with classes by number and by name, and scores."""
    shrink_leaderboard(monkeypatch)
    for task in ("sst2", "mrpc", "qqp", "qnli", "wnli"):
        monkeypatch.setitem(text_tasks(), task, get_task(task).model_copy(update={"test": ()}))
    for task in leaderboard():
        command = ["finetune", "--model", model, "--data", glue, "--task", task, "--method", "lora", *SHORT]
        code, _, err = call(*command, *(["--predict-test"] if task != "rte" else []))
        assert code == 0, err
    code, out, err = call("report", "--glue-zip", "submission.zip")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no predictions for RTE.tsv (rte); sparsegrad finetune --task rte" in err

    typed = re.search(r"sparsegrad (finetune .* --predict-test)", err)[1]
    code, out, err = call(*shlex.split(typed), "--dry-run")
    assert (code, out.splitlines()[-1][18:]) == (0, "rte lora seed 0  done, test predictions to do"), err
    code, _, err = call(*shlex.split(typed))
    assert code == 0, err
    assert f"rte lora seed 0: predict, {TEST_ROWS} rows" in err
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 4

    code, out, err = call("report", "--glue-zip", "submission.zip")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith("lora, paper protocol, seed 0")
    assert len(lines) == 8
    assert "6 files by the leaderboard's names, 36 rows" in lines[-1]
    with zipfile.ZipFile("submission.zip") as packed:
        assert len(packed.namelist()) == 6
    document = json.loads(call("report", "--glue-zip", "submission.zip", "--json")[1])
    assert [answers["rows"] for answers in document["files"]] == [TEST_ROWS] * 6
    assert call("report", "--glue-zip", "submission.zip", "--quiet") == (0, "", "")


@pytest.mark.usefixtures("any_memory")
def test_small_test_data_are_predicted_but_not_submitted(call, model, glue, tmp_path):
    command = ["finetune", "--model", model, "--data", glue, "--task", "rte", "--method", "lora", *SHORT]
    code, out, err = call(*command, "--predict-test", "--dry-run")
    assert code == 0, err
    assert "test data      test 6 of 3000 rows" in out
    cells = json.loads(call(*command, "--predict-test", "--dry-run", "--json")[1])["cells"]
    assert [cell["test_predictions"] for cell in cells] == ["to do"]
    assert not (tmp_path / "results").exists()
    assert call(*command, "--predict-test")[0] == 0
    cells = json.loads(call(*command, "--predict-test", "--dry-run", "--json")[1])["cells"]
    assert [cell["test_predictions"] for cell in cells] == ["done"]
    code, _, err = call("report", "--glue-zip", "submission.zip", "--fill-missing", "majority")
    assert code == 2
    assert "RTE.tsv has 6 of 3000 rows" in err
    assert not (tmp_path / "submission.zip").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "demo"], "--data demo have no test split"),
        (["--data", "bare"], "no test split of rte in bare: looked for rte/test.jsonl.gz"),
    ],
)
def test_no_test_data_is_told_before_anything_is_trained(change, message, call, model, tmp_path):
    write_jsonl_folder(tmp_path / "bare", get_task("rte"), rows_of(get_task("rte")))
    command = ["finetune", "--model", model, "--task", "rte", "--method", "lora", "--predict-test", *change]
    code, out, err = call(*command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "results").exists()


def test_a_run_without_its_model_is_told_before_anything_is_trained(call, model, glue, tmp_path):
    command = ["finetune", "--model", model, "--data", glue, "--task", "rte", "--method", "lora", *SHORT]
    assert call(*command, "--seed", "1", "--save", "none")[0] == 0
    code, _, err = call(*command, "--seed", "0", "--seed", "1", "--predict-test")
    assert code == 2
    assert "its model was not kept" in err
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "lora"], "--method: only with --glue-zip"),
        (["--seed", "1", "--fill-missing", "majority"], "--seed, --fill-missing: only with --glue-zip"),
        (["--glue-zip", "a.zip", "--output", "b"], "--output: of no use with --glue-zip"),
        (["--glue-zip", "a.zip"], "no finished run in results has test predictions"),
        (["--glue-zip", "a.zip", "--fill-missing", "zeros"], "zeros"),
    ],
)
def test_what_makes_no_submission_is_one_line(words, message, call, tmp_path):
    write_run(tmp_path / "results", "lora", task="rte")
    code, out, err = call("report", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
