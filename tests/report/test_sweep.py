"""Sweeps in the report: what stands in one table, what is said of it, and pictures of odd studies."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report import Report, build_report
from sparsegrad_cli.report.section import Section
from sparsegrad_cli.report.sweep import sweep_sections
from sparsegrad_cli.report.sweep.plot import save_plot
from sparsegrad_cli.report.sweep.words import print_sweeps
from sparsegrad_cli.sweep.folder import ReadSweep, write_sweep
from sparsegrad_cli.sweep.schema import Sweep
from sparsegrad_cli.sweep.space import Range

from ..sweep.fabricate import ENVIRONMENT, make_config, make_sweep, make_trial, typical_trials
from .runs import write_run

RATES = Range(low=1e-6, high=1e-1, log=True)
BATCHES = (8, 16, 32)
ROBERTA = {"model": "roberta-base"}
TRIALS = (make_trial(0, 0.6), make_trial(1, 0.7, rate=3.05e-5, batch=32), make_trial(2, 0.65))


def study(method: str = "lora", *trials: object, **how: object) -> Sweep:
    return make_sweep(make_config(method, **how), *(trials or TRIALS))


def sections(*sweeps: Sweep, trials: bool = False) -> list[Section]:
    return sweep_sections([ReadSweep(sweep, None, ENVIRONMENT) for sweep in sweeps], trials)


def rows(section: Section, grid: int = 0) -> dict[str, list[str]]:
    """Texts by the row's label."""
    labels, *parts = section.grids[grid]
    by_row = zip(labels.cells, *(part.cells for part in parts), strict=True)
    return {" ".join(label): [" ".join(cell) for cell in cells] for label, *cells in by_row}


def shown(report: Report, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.print(console)
    return console.file.getvalue()


def test_methods_are_rows_and_tasks_columns_in_glues_order():
    space = {"learning_rate": RATES, "batch_size": BATCHES, "density": (0.01, 0.0123)}
    best = make_trial(0, 0.8, params={"learning_rate": 1e-4, "batch_size": 8, "density": 0.0123})
    (section,) = sections(
        study("sparsegrad", best, space=space),
        study("lora"),
        study("lora", task="cola", data_revision="c" * 64, score_name="matthews_correlation"),
    )
    assert [part.head + part.metrics for part in section.grids[0][1:]] == [
        ["cola", "Matthews"],
        ["rte", "accuracy"],
    ]
    assert rows(section) == {
        "lora": ["lr 3.05e-05 batch 32 70.0", "lr 3.05e-05 batch 32 70.0"],
        "sparsegrad": ["–", "lr 1.00e-04 batch 8 density 0.0123 80.0"],
    }
    assert section.caption["maximised"] == "cola: Matthews; rte: accuracy, at a trial's best evaluation"


def test_of_losses_the_lowest_is_the_best_and_stands_in_nats(tmp_path):
    made = study(task="oasst1", data_revision="c" * 64, score_name="loss", completeness="custom")
    best, trials = sections(made, trials=True)
    assert rows(best)["lora"][0].endswith(" 0.600")
    assert "maximised" not in best.caption
    assert best.caption["minimised"] == "loss, at a trial's best evaluation"
    heads = [" ".join(part.head) for part in trials.grids[0]]
    assert [cell[0] for cell in trials.grids[0][heads.index("score")].cells] == ["0.600", "0.700", "0.650"]
    save_plot(ReadSweep(made, None, ENVIRONMENT), tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_losses_over_other_tokens_or_beside_scores_of_glue_are_in_other_tables():
    chat = {"task": "oasst1", "score_name": "loss", "loss_on": "assistant", "length": 512}
    found = sections(study(), study(**chat), study("ft", **chat), study(**{**chat, "loss_on": "all"}))
    assert sorted(len(rows(section)) for section in found) == [1, 1, 2]
    assert ["maximised" in section.caption for section in found].count(True) == 1
    (told,) = [section.caption for section in found if len(rows(section)) == 2]
    assert told["tokens"].startswith("the loss is over the assistant's turns, in nats a token")


def test_the_papers_row_is_there_for_its_models_on_its_data_only():
    (section,) = sections(study(model="FacebookAI/roberta-base"))
    assert rows(section)["paper (table 14)"] == ["lr 3.05e-05 batch 32"]
    assert "tables 13-15" in section.caption["paper"]
    (partial,) = sections(
        study(completeness="partial", task="wnli", **ROBERTA), study(**ROBERTA, task="sst2")
    )
    assert rows(partial)["paper (table 14)"] == ["lr 1.33e-05 batch 16", "–"]
    for how in ({}, {"completeness": "synthetic", **ROBERTA}, {"completeness": "custom", **ROBERTA}):
        (section,) = sections(study(**how))
        assert list(rows(section)) == ["lora"]
        assert "paper" not in section.caption


@pytest.mark.parametrize(
    "how",
    [
        {"select_on": "holdout"},
        {"protocol": "heldout"},
        {"precision": "bf16"},
        {"device": "cuda"},
        {"completeness": "synthetic"},
        {"model_revision": "f" * 64},
        {"model": "other"},
    ],
)
def test_what_must_not_be_mixed_is_in_two_tables(how):
    found = sections(study("ft"), study("lora", **how))
    assert sorted(label for section in found for label in rows(section)) == ["ft", "lora"]
    assert len(found) == 2


def test_studies_of_one_task_that_differ_have_rows_of_their_own():
    narrow = {"learning_rate": Range(low=1e-5, high=1e-3, log=True), "batch_size": BATCHES}
    (section,) = sections(study(), study(rank=16), study(seed=1), study(space=narrow))
    assert list(rows(section)) == [
        "lora rank 7 seed 0 learning rate 1e-06 to 0.1 (log-uniform)",
        "lora rank 7 seed 1 learning rate 1e-06 to 0.1 (log-uniform)",
        "lora rank 7 seed 0 learning rate 1e-05 to 0.001 (log-uniform)",
        "lora rank 16",
    ]
    assert len(rows(section, 1)) == 4


def test_a_setting_that_one_study_searches_and_another_has_does_not_hide_either():
    searched = {"learning_rate": RATES, "batch_size": BATCHES, "freeze_rest": (False, True)}
    (section,) = sections(study(), study(space=searched))
    assert sorted(rows(section)) == ["lora", "lora freeze rest no or yes"]


def test_what_became_of_the_trials_is_counted():
    sweep = make_sweep(make_config(), *typical_trials(), asked=40)
    (section,) = sections(sweep)
    heads = [" ".join(part.head) for part in section.grids[1][1:]]
    (row,) = rows(section, 1).values()
    found = dict(zip(heads, row, strict=True))
    pruned = sum(trial.state == "pruned" for trial in sweep.result.trials)
    assert pruned > 2
    assert found["asked"] == "40"
    assert found["complete"] == str(20 - pruned)
    assert found["pruned"] == str(pruned)
    assert (found["diverged"], found["out of memory"], found["failed"]) == ("1", "1", "1")
    assert found["to do"] == "17"
    assert found["seconds"] == str(30 * 23)
    assert (found["best"], found["of trial"]) == ("78.0", "3")


def test_a_study_without_a_complete_trial_has_a_dash_and_a_note():
    pruned = make_trial(0, evaluations={1: 0.5}, reason="evaluation 1")
    (section,) = sections(study("lora", pruned, make_trial(1, state="running"), make_trial(2)))
    assert rows(section) == {"lora": ["–"]}
    assert section.notes == ["rte lora: no trial has come to its end yet"]


def test_the_trials_are_listed_with_what_became_of_each():
    long = "CUDA out of memory. " * 5
    sweep = study(
        "lora",
        make_trial(0, 0.7),
        make_trial(1, evaluations={1: 0.4, 2: 0.52, 3: 0.5}, reason="worse than the median of the others"),
        make_trial(2, state="out-of-memory", reason=long),
        make_trial(3, 0.7, same_as=0, evaluations={}),
        make_trial(4, state="running"),
        make_trial(5),
    )
    _, section = sections(sweep, trials=True)
    assert section.title == f"trials: demo rte lora {sweep.result.id}"
    listed = rows(section)
    assert listed["0"] == ["complete", "1.00e-04", "16", "70.0", "2", "30", ""]
    assert listed["1"][0] == "pruned"
    assert listed["1"][3:] == ["(52.0)", "3", "30", "worse than the median of the others"]
    assert listed["2"][-1].endswith("…")
    assert section.notes == [f"trial 2: {long.strip()}"]
    assert listed["3"][-1] == "same parameters as trial 0"
    assert list(listed) == ["0", "1", "2", "3", "4"]


def test_the_caption_says_what_selected_and_what_that_is_worth():
    def selected(**how: object) -> str:
        return sections(study(**how))[0].caption["selected on"]

    assert selected() == (
        "dev selects (paper protocol): scores are optimistic, since the best of 3 trials on it is shown"
    )
    assert "one half of dev selects, the other half was not looked at" in selected(protocol="heldout")
    assert "a tenth of train" in selected(select_on="holdout")
    assert "dev was not looked at" in selected(select_on="holdout")


def test_the_caption_says_what_was_searched_and_on_what():
    (section,) = sections(study(completeness="synthetic"))
    caption = section.caption
    assert "SYNTHETIC" in section.title
    assert caption["space"] == (
        "learning rate 1e-06 to 0.1 (log-uniform), batch size 8, 16 or 32 (the paper's)"
    )
    assert caption["search"] == "TPE, seed 0, median pruner"
    assert caption["data"].startswith("SYNTHETIC")
    assert caption["ran on"] == "cpu, fp32 (x86_64, 2 threads)"
    assert caption["code"] == "3397e3000000"
    assert "lora rank 7" in caption["methods"]
    (other,) = sections(study(completeness="partial"), study("ft", completeness="partial", pruner="none"))
    assert other.caption["data"].endswith("rte partial: train 2490, validation 277")
    assert other.caption["search"] == "ft: TPE, seed 0, no pruner; lora: TPE, seed 0, median pruner"


def test_what_is_not_on_disk_yet_can_be_shown():
    console = Console(file=io.StringIO(), width=100)
    print_sweeps(console, [ReadSweep(study())], trials=True)
    text = console.file.getvalue()
    assert "lr 3.05e-05" in text
    assert "trials: demo rte lora" in text
    assert "\ncode " not in text


@pytest.mark.parametrize("with_result", [True, False])
def test_the_runs_of_trials_never_enter_a_table_of_runs(tmp_path, with_result):
    write_run(tmp_path, "ft", 0.5)
    folder = write_sweep(tmp_path, study(), ENVIRONMENT)
    write_run(folder, "lora", 0.7)
    if not with_result:
        (folder / "result.json").unlink()
    report = build_report([tmp_path])
    assert [row.method for table in report.tables for row in table.rows] == ["ft"]
    assert len(report.sweeps) == with_result
    assert report.left_out == {}


def test_a_folder_may_hold_sweeps_alone(tmp_path):
    folder = write_sweep(tmp_path, study(), ENVIRONMENT)
    for place in (tmp_path, tmp_path / "sweeps", folder):
        report = build_report([place])
        assert report.tables == ()
        assert [read.folder for read in report.sweeps] == [folder.resolve()]
        assert "No finished run" not in shown(report)


def test_terminal_and_markdown_both_have_it_and_only_markdown_every_trial(tmp_path):
    read = ReadSweep(study(**ROBERTA), write_sweep(tmp_path, study(**ROBERTA), ENVIRONMENT), ENVIRONMENT)
    save_plot(read, read.folder / "plot.png")
    report = build_report([tmp_path])
    markdown = report.write(tmp_path)[0].read_text(encoding="utf-8")
    assert "| lora | lr 3.05e-05 / batch 32 / 70.0 |" in markdown
    assert "| paper (table 14) | lr 3.05e-05 / batch 32 |" in markdown
    assert f"](sweeps/{read.sweep.result.id}/plot.png)" in markdown
    assert "## trials: roberta-base rte lora" in markdown
    text = shown(report)
    for words in ("lr 3.05e-05", "paper (table 14)", "optimistic", "TPE, seed 0, median pruner"):
        assert words in text
    assert "trials: roberta-base" not in text
    (found,) = json.loads(json.dumps(report.to_json(), allow_nan=False))["sweeps"]
    assert found["sweep"]["result"]["trials"][1]["score"] == 0.7


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_wider_than_the_terminal(tmp_path, width):
    for task in ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"):
        write_sweep(tmp_path, study(task=task, **ROBERTA), ENVIRONMENT)
    text = shown(build_report([tmp_path]), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("paper (table 14)") > 1  # in blocks, each with its labels


@pytest.mark.parametrize("name", ["result.json", "config.json"])
def test_a_damaged_file_is_named(tmp_path, name):
    folder = write_sweep(tmp_path, study(), ENVIRONMENT)
    (folder / name).write_text('{"id": ')
    with pytest.raises(InputError) as error:
        build_report([tmp_path])
    assert str(folder / name) in str(error.value)


ODD = {
    "typical": study("lora", *typical_trials(), **ROBERTA),
    "with importances": make_sweep(make_config(), *typical_trials(), learning_rate=0.9, batch_size=0.1),
    "no trial": make_sweep(make_config(), asked=20),
    "one trial": study("lora", make_trial(0, 0.7)),
    "one trial of 0": study("lora", make_trial(0, 0.0)),
    "none complete": study("lora", make_trial(0, evaluations={1: 0.5}), make_trial(1, state="diverged")),
    "all failed": study("lora", *(make_trial(slot, state="failed") for slot in range(3))),
    "all equal": study("lora", *(make_trial(slot, 0.5271, rate=10.0 ** -(slot + 2)) for slot in range(4))),
    "rate not searched": study("lora", space={"learning_rate": (5e-5,), "batch_size": BATCHES}),
    "rates in a list": study("lora", space={"learning_rate": (1e-4, 3.05e-5)}),
    "no batch size": study(
        "lora", make_trial(0, 0.7, params={"learning_rate": 1e-3}), space={"learning_rate": RATES}
    ),
    "many batch sizes": study("lora", *(make_trial(slot, 0.5, batch=4 + slot) for slot in range(30))),
    "nothing in the space": study("lora", make_trial(0, 0.7, params={}), space={}),
    "losses": study("lora", *(make_trial(slot, 2.0 + slot) for slot in range(3)), score_name="loss"),
    "losses far apart": study(
        "lora", make_trial(0, 2.0), make_trial(1, 900.0), make_trial(2, state="diverged"), score_name="loss"
    ),
    "no loss yet": study("lora", make_trial(0), score_name="loss"),
    "times not known": study("lora", make_trial(0, 0.7, ended=None), make_trial(1, 0.6)),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("error::UserWarning")
def test_every_odd_study_has_a_picture_and_words(tmp_path, name):
    read = ReadSweep(ODD[name])
    save_plot(read, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    assert [len(shown.figures) for shown in sweep_sections([replace(read, folder=tmp_path)], True)] == [0, 1]
    print_sweeps(Console(file=io.StringIO(), width=80), [read], trials=True)


def test_reporting_sweeps_loads_neither_torch_nor_optuna():
    modules = "sparsegrad_cli.report.sweep.words, sparsegrad_cli.report.sweep.plot"
    code = (
        f"import sys, {modules}; print({{'torch', 'transformers', 'datasets', 'optuna'}} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"
