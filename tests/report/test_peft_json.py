"""Results go to PEFT's method_comparison and come from there."""

from __future__ import annotations

import json

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.peft_json import read_peft_results, write_peft_results
from sparsegrad_cli.store.folder import RUNS, read_all

from .runs import write_run

THEIRS = {  # a result of theirs, shortened
    "run_info": {
        "created_at": "2025-06-19T19:15:35+00:00",
        "total_time": 1993.5,
        "experiment_name": "lora/llama-3.2-3B-rank32",
        "train_config": {"model_id": "meta-llama/Llama-3.2-3B", "max_steps": 5000, "seed": 0},
        "peft_config": {"peft_type": "LORA", "r": 32},
        "error_msg": "",
    },
    "train_info": {
        "cuda_memory_max": 22273851392,
        "train_time": 1796.2,
        "file_size": 36715216,
        "num_trainable_params": 9175040,
        "num_total_params": 3221924864,
        "status": "success",
        "metrics": [
            {"step": 4750, "valid accuracy": 0.46},
            {"step": 5000, "test accuracy": 0.4822, "train loss": 0.6069},
        ],
    },
    "meta_info": {"model_info": {"sha": "13afe"}, "dataset_info": {"metamath": {}, "gsm8k": {}}},
}


def test_a_result_of_theirs_is_a_row(tmp_path):
    (tmp_path / "theirs.json").write_text(json.dumps(THEIRS))
    (row,) = read_peft_results([tmp_path])
    assert (row["method"], row["model"]) == ("lora", "meta-llama/Llama-3.2-3B")
    assert row["task"] == "metamath, gsm8k"
    assert (row["score_name"], row["score"], row["status"]) == ("accuracy", 0.4822, "done")
    assert (row["trainable"], row["peak_memory_bytes"]) == (9175040, 22273851392)
    assert row["steps_per_second"] == pytest.approx(5000 / 1796.2)


def test_what_we_write_says_the_same_when_it_is_read_again(tmp_path):
    write_run(tmp_path / "results", "lora", 0.5, seed=1)
    (run,) = read_all(RUNS, [tmp_path / "results"])
    (file,) = write_peft_results([tmp_path / "results"], tmp_path / "theirs")
    (row,) = read_peft_results([file])
    assert row["score"] == run.result.score
    assert row["score_name"] == run.result.score_name
    assert row["trainable"] == run.result.parameters.trainable
    assert (row["method"], row["seed"], row["status"]) == ("lora", 1, "done")
    assert THEIRS.keys() <= json.loads(file.read_text()).keys()


@pytest.mark.parametrize("text", ["[]", "{", '{"run_info": {}}'])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no result of PEFT's method_comparison"):
        read_peft_results([path])


def test_their_rows_and_ours_stand_in_one_table(tmp_path):
    write_run(tmp_path / "results", "lora", 0.5, seed=1)
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps(THEIRS))
    for given in ([file, tmp_path / "results"], [tmp_path]):
        made = build_report(given)
        (chapter,) = (each for each in made.chapters() if each.title == "Beside PEFT")
        (table,) = chapter.sections[0].tables
        rows = [dict(zip((column.head for column in table.columns), row, strict=True)) for row in table.rows]
        assert [(row["from"], row["method"], row["score"]) for row in rows] == [
            ("PEFT", "lora", "48.2"),
            ("ours", "lora", "50.0"),
        ]
        assert made.to_json()["peft"][0]["trainable"] == 9175040
    alone = build_report([file])
    assert [each.title for each in alone.chapters()] == ["Beside PEFT"]
    assert not alone.notes
