"""The submission zip: what the leaderboard would take, of one method and seed, or a reason why not."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.report.submission import Wanted, check_zip, write_submission
from sparsegrad_cli.tasks import get_task, leaderboard

from ..tasks.glue_files import TEST_ROWS, shrink_leaderboard
from .runs import write_run

FILES = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "AX", "QNLI", "RTE", "WNLI"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_leaderboard(monkeypatch)


def predict(folder: Path, task: str, values: list[float], splits: list[str] | None = None) -> Path:
    """Test predictions in a run's folder, last row first."""
    names = splits or [split.name for split in leaderboard()[task]]
    frames = [
        pd.DataFrame({"split": name, "idx": range(len(values)), "prediction": values}).iloc[::-1]
        for name in names
    ]
    pd.concat(frames, ignore_index=True).to_parquet(folder / "test_predictions.parquet")
    return folder


def values_of(task: str) -> list[float]:
    labels = get_task(task).labels
    return [-0.5, 0.1, 2.25, 4.0, 5.0, 7.0] if labels is None else [i % len(labels) for i in range(TEST_ROWS)]


def write_all(results: Path, *methods: str, leave_out: tuple[str, ...] = (), **config: object) -> Path:
    """Every task by the methods, each with its test predictions."""
    for method in methods:
        for task in leaderboard():
            if task not in leave_out:
                predict(write_run(results, method, task=task, **config), task, values_of(task))
    return results


def contents(path: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name).decode().split("\n") for name in packed.namelist()}


def test_the_files_are_those_that_the_leaderboard_asks_for(tmp_path):
    results = write_all(tmp_path / "results", "lora")
    made = write_submission(tmp_path / "submission.zip", [results], Wanted())
    found = contents(tmp_path / "submission.zip")
    assert sorted(found) == sorted(f"{name}.tsv" for name in FILES)
    for lines in found.values():
        assert lines[0] == "index\tprediction"
        assert [line.split("\t")[0] for line in lines[1:-1]] == [str(i) for i in range(TEST_ROWS)]
        assert lines[-1] == ""

    def answers(name: str) -> list[str]:
        return [line.split("\t")[1] for line in found[f"{name}.tsv"][1:-1]]

    for name in ("CoLA", "SST-2", "MRPC", "QQP", "WNLI"):
        assert answers(name) == ["0", "1", "0", "1", "0", "1"]
    for name in ("QNLI", "RTE"):
        assert answers(name) == ["entailment", "not_entailment"] * 3
    for name in ("MNLI-m", "MNLI-mm", "AX"):
        assert answers(name) == ["entailment", "neutral", "contradiction"] * 2
    assert answers("STS-B") == ["0.00000", "0.10000", "2.25000", "4.00000", "5.00000", "5.00000"]
    assert made.made_of == "demo, lora, paper protocol, seed 0"
    assert len({answers.run for answers in made.files}) == 9
    assert list(made.lines())[-1].startswith("checked: ")


def test_one_method_and_seed_of_several_is_chosen_by_the_user(tmp_path):
    results = write_all(tmp_path / "results", "ft", "lora")
    write_all(results, "lora", seed=1)
    path = tmp_path / "submission.zip"
    with pytest.raises(
        InputError, match=r"3 submissions, choose one by --method, --seed or the folders"
    ) as told:
        write_submission(path, [results], Wanted())
    for words in ("ft, seed 0 (", "lora, seed 0 (", "lora, seed 1 ("):
        assert words in str(told.value)
    with pytest.raises(InputError, match="2 submissions, choose one by --seed"):
        write_submission(path, [results], Wanted(method="lora"))
    with pytest.raises(InputError, match="--seed 3: no such run has test predictions, there is 0, 1"):
        write_submission(path, [results], Wanted(seed=3))
    assert not path.exists()
    made = write_submission(path, [results], Wanted(method="lora", seed=1))
    assert made.made_of == "demo, lora, paper protocol, seed 1"
    assert (
        write_submission(path, [results], Wanted(method="ft")).made_of == "demo, ft, paper protocol, seed 0"
    )


@pytest.mark.parametrize(
    ("other", "how"),
    [
        ({"model": "roberta-base"}, "choose one by --model"),
        ({"protocol": "heldout"}, "choose one by --protocol"),
        ({"rank": 4}, "choose one by their folders: rank 7 .*; rank 4"),
        ({"checkpoint": "sha256:" + "cd" * 32}, "choose one by their folders: sha256:"),
    ],
)
def test_what_does_not_belong_together_is_not_mixed(other, how, tmp_path):
    results = write_all(tmp_path / "results", "lora", leave_out=("rte",))
    elsewhere = tmp_path / "other"
    predict(write_run(elsewhere, "lora", task="rte", **other), "rte", values_of("rte"))
    with pytest.raises(InputError, match=how):
        write_submission(tmp_path / "submission.zip", [results, elsewhere], Wanted())


def test_learning_rates_may_differ_between_tasks(tmp_path):
    results = write_all(tmp_path / "results", "lora", leave_out=("rte",))
    predict(write_run(results, "lora", task="rte", learning_rate=3e-4), "rte", values_of("rte"))
    assert write_submission(tmp_path / "submission.zip", [results], Wanted()).files


def test_two_runs_of_a_task_on_different_data_are_not_chosen_between(tmp_path):
    results = write_all(tmp_path / "results", "lora")
    predict(write_run(results, "lora", task="rte", data_revision="e" * 64), "rte", values_of("rte"))
    with pytest.raises(InputError, match="predictions for rte by runs on different data"):
        write_submission(tmp_path / "submission.zip", [results], Wanted())


def test_what_is_missing_is_listed_with_what_makes_it(tmp_path):
    results = write_all(tmp_path / "results", "lora", leave_out=("qqp", "rte", "wnli"), max_steps=40)
    write_run(results, "lora", task="rte", max_steps=40, learning_rate=3e-4)
    path = tmp_path / "submission.zip"
    with pytest.raises(InputError) as told:
        write_submission(path, [results], Wanted())
    words = str(told.value)
    assert "no predictions for QQP.tsv (qqp), RTE.tsv (rte), WNLI.tsv (wnli)" in words
    before = "--model demo --data hub --method lora --seed 0 --device cpu"
    after = f"--max-steps 40 --rank 7 --output {results} --predict-test"
    assert f"finetune --task qqp {before} {after} (and so with --task wnli)" in words
    assert f"finetune --task rte {before} --learning-rate 0.0003 --batch-size 16 {after};" in words
    assert "WNLI.tsv is filled with one class by --fill-missing majority" in words
    assert not path.exists()


def test_only_wnli_is_filled_and_only_when_asked(tmp_path):
    results = write_all(tmp_path / "results", "lora", leave_out=("wnli",))
    path = tmp_path / "submission.zip"
    with pytest.raises(InputError, match=r"WNLI\.tsv \(wnli\)"):
        write_submission(path, [results], Wanted())
    made = write_submission(path, [results], Wanted(), fill_majority=True)
    assert contents(path)["WNLI.tsv"][1:-1] == [f"{i}\t0" for i in range(TEST_ROWS)]
    assert any(
        "WNLI.tsv" in line and "NO RUN: every row says not_entailment" in line for line in made.lines()
    )

    (rte,) = (p for p in (results / "runs").iterdir() if '"task": "rte"' in (p / "config.json").read_text())
    shutil.rmtree(rte)
    with pytest.raises(InputError, match=r"no predictions for RTE\.tsv \(rte\)"):
        write_submission(path, [results], Wanted(), fill_majority=True)


def test_wnli_of_a_run_is_not_overwritten_by_the_majority(tmp_path):
    results = write_all(tmp_path / "results", "lora")
    write_submission(tmp_path / "submission.zip", [results], Wanted(), fill_majority=True)
    assert contents(tmp_path / "submission.zip")["WNLI.tsv"][2] == "1\t1"


def test_mnli_without_the_diagnostic_set_says_where_it_goes(tmp_path):
    results = write_all(tmp_path / "results", "lora", leave_out=("mnli",))
    folder = write_run(results, "lora", task="mnli")
    predict(folder, "mnli", values_of("mnli"), ["test_matched", "test_mismatched"])
    with pytest.raises(InputError, match=r"AX\.tsv needs ax/test\.jsonl\.gz or diagnostic/diagnostic\.tsv"):
        write_submission(tmp_path / "submission.zip", [results], Wanted())


def test_rows_that_are_not_all_there_are_refused(tmp_path):
    results = write_all(tmp_path / "results", "lora", leave_out=("rte", "stsb", "qqp"))
    predict(write_run(results, "lora", task="rte"), "rte", [0, 1, 0])
    predict(write_run(results, "lora", task="stsb"), "stsb", [float("nan")] * TEST_ROWS)
    shifted = write_run(results, "lora", task="qqp")
    frame = pd.DataFrame({"split": "test", "idx": np.arange(TEST_ROWS) + 1, "prediction": 0})
    frame.to_parquet(shifted / "test_predictions.parquet")
    path = tmp_path / "submission.zip"
    path.write_bytes(b"an older one")
    with pytest.raises(InputError) as told:
        write_submission(path, [results], Wanted())
    assert f"RTE.tsv has 3 of {TEST_ROWS} rows" in str(told.value)
    assert "STS-B.tsv: a prediction is not a number" in str(told.value)
    assert f"QQP.tsv: idx is not 0 to {TEST_ROWS - 1}" in str(told.value)
    assert path.read_bytes() == b"an older one"


def test_runs_that_failed_or_have_no_predictions_make_no_submission(tmp_path):
    write_run(tmp_path, "lora", task="rte")
    predict(write_run(tmp_path, "ft", task="rte", status="diverged"), "rte", values_of("rte"))
    with pytest.raises(InputError, match=r"no finished run in .* has test predictions"):
        write_submission(tmp_path / "submission.zip", [tmp_path], Wanted())


def test_predictions_that_cannot_be_read_are_named(tmp_path):
    results = write_all(tmp_path / "results", "lora")
    broken = next((results / "runs").iterdir()) / "test_predictions.parquet"
    broken.write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match=r"test_predictions\.parquet: cannot be read .* predict again"):
        write_submission(tmp_path / "submission.zip", [results], Wanted())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("RTE.tsv", lambda text: text.replace("0\tentailment", "0\t1"), r"RTE\.tsv:2: '0\\t1' is not 0"),
        ("CoLA.tsv", lambda text: text.replace("0\t0", "0\tacceptable"), r"CoLA\.tsv:2"),
        ("STS-B.tsv", lambda text: text.replace("4.00000", "5.50000"), r"STS-B\.tsv:5"),
        ("STS-B.tsv", lambda text: text.replace("4.00000", "nan"), r"STS-B\.tsv:5"),
        ("QNLI.tsv", lambda text: text.replace("3\t", "4\t"), r"QNLI\.tsv:5"),
        ("MRPC.tsv", lambda text: text.removesuffix("5\t1\n"), r"MRPC\.tsv: 6 lines, not the header and 6"),
        ("AX.tsv", lambda text: text.removeprefix("index\tprediction\n"), r"AX\.tsv: 6 lines"),
        ("AX.tsv", lambda text: None, r"the zip holds"),
    ],
)
def test_the_check_finds_what_the_leaderboard_would_refuse(file, change, message, tmp_path):
    path = tmp_path / "submission.zip"
    write_submission(path, [write_all(tmp_path / "results", "lora")], Wanted())
    check_zip(path)
    with zipfile.ZipFile(path) as packed:
        texts = {name: packed.read(name).decode() for name in packed.namelist()}
    texts[file] = change(texts[file])
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in texts.items():
            if text is not None:
                packed.writestr(name, text)
    with pytest.raises(WorkError, match=message):
        check_zip(path)


def test_a_zip_that_cannot_be_written_is_one_line(tmp_path):
    results = write_all(tmp_path / "results", "lora")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WorkError, match=r"cannot write .*submission\.zip"):
        write_submission(tmp_path / "taken" / "submission.zip", [results], Wanted())
