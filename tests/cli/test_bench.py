"""`sparsegrad bench` as a person meets it; the workers' work is done in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsegrad_cli.bench import calibration, run
from sparsegrad_cli.bench.calibration import plan_calibration
from sparsegrad_cli.bench.measure import MeasureJob
from sparsegrad_cli.bench.target import Failure
from sparsegrad_cli.settings import config_id

from ..bench.targets import answer_here
from ..checkpoints import tiny_checkpoint
from ..planned import write_cola

SHORT = ["--rounds", "2", "--steps", "2", "--batch-size", "2", "--length", "16", "--calibration-steps", "2"]
KEYS = {
    "method",
    "basis",
    "mask",
    "place",
    "padding",
    "steps_per_second",
    "tokens_per_second",
    "peak_memory_bytes",
}
KEYS |= {"speed_vs_ft", "speed_vs_lora", "memory_vs_ft", "memory_vs_lora"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "bert", "bert"))


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer_here(monkeypatch)


def test_methods_side_by_side_in_json_on_disk_and_in_the_report(call, model, tmp_path):
    command = ["bench", "--model", model, *SHORT, "--method", "ft", "--method", "lora"]
    command += ["--method", "sparsegrad", "--place", "optimizer", "--mask", "block"]
    code, out, err = call(*command, "--json")
    assert code == 0, err
    assert "round 2 of 2: sparsegrad block" in err
    document = json.loads(out)
    rows = document["rows"]
    assert [(row["method"], row["place"], row["mask"]) for row in rows] == [
        ("ft", None, None),
        ("lora", None, None),
        ("sparsegrad", "optimizer", "dynamic"),
        ("sparsegrad", "adapter", "block"),
    ]
    assert all(set(row) >= KEYS for row in rows)
    assert rows[0]["speed_vs_ft"] == rows[1]["memory_vs_lora"] == 1
    assert all(row["flops"] > 0 and row["utilization"] > 0 for row in rows)
    assert {row["padding"] for row in rows} == {"max"}
    assert document["config"]["length"] == 16
    assert document["environment"]["versions"]["torch"]

    (folder,) = (tmp_path / "results" / "bench").iterdir()
    written = {"config.json", "environment.json", "result.json", "plot.png"}
    assert {path.name for path in folder.iterdir()} - {"lock"} == written
    assert json.loads((folder / "result.json").read_text())["rows"] == rows

    code, out, err = call("report")
    assert code == 0, err
    assert "sparsegrad optimizer" in out
    report = (tmp_path / "results" / "report.md").read_text()
    assert f"![Steps per second against peak memory](bench/{folder.name}/plot.png)" in report
    assert "No finished run" not in report


def test_it_is_measured_anew_and_a_table_says_on_what(call, model, tmp_path):
    command = ["bench", "--model", model, *SHORT, "--method", "lora", "--layers", "1", "--profile"]
    command += ["--freeze-rest"]
    code, out, err = call(*command)
    assert code == 0, err
    (first,) = (tmp_path / "results" / "bench").iterdir()
    result = (first / "result.json").read_text()
    for words in ("1 block", "2 × 16", "fp32", "torch ", "thread", "only the adapters", "pretrained"):
        assert words in " ".join(out.split())
    assert "lora spends most on " in " ".join(out.split())
    assert (first / "trace-lora.json.gz").exists()
    assert call(*command, "--quiet")[0] == 0
    assert (first / "result.json").read_text() != result
    assert len(list((tmp_path / "results" / "bench").iterdir())) == 1


def test_real_batches_and_random_weights(call, model, tmp_path):
    data = str(write_cola(tmp_path / "glue"))
    command = ["bench", "--model", model, "--init", "random", "--task", "cola", "--data", data, *SHORT]
    code, out, err = call(*command, "--method", "ft", "--json", "--quiet")
    assert (code, err) == (0, "")
    config = json.loads(out)["config"]
    assert (config["task"], config["init"]) == ("cola", "random")


def test_a_row_that_fails_is_told_and_the_exit_code_is_1(call, model, monkeypatch):
    here = run.ask

    def ask(function, job, device, pool):
        if isinstance(job, MeasureJob) and job.row.method == "ft":
            return Failure(status="out-of-memory", error="no room")
        return here(function, job, device, pool)

    monkeypatch.setattr(run, "ask", ask)
    code, out, err = call("bench", "--model", model, *SHORT, "--method", "ft", "--method", "lora")
    assert code == 1
    assert "ft: out-of-memory (no room)" in out
    assert "1 of 2 rows failed: ft out-of-memory (no room)" in err


def test_a_dry_run_names_the_rows_and_measures_nothing(call, model, tmp_path):
    code, out, _ = call("bench", "--model", model, "--method", "ft", "--method", "meprop", "--dry-run")
    assert (code, out.split()) == (0, ["ft", "meprop"])
    assert not (tmp_path / "results").exists()


def test_bad_usage_ends_with_2_and_one_line(call, model):
    for command, words in (
        (["--model", model, "--method", "lorra"], "did you mean lora"),
        (["--model", model, "--layers", "9"], "has 2 blocks"),
        (["--rounds", "0"], "--rounds"),
        (["calibrate", "--model", model, "--layers", "9"], "has 2 blocks"),
    ):
        code, _, err = call("bench", *command)
        assert code == 2
        assert words in err
        assert len(err.splitlines()) == 1


def test_bench_calibrate_compares_both_ways(call, model, tmp_path):
    command = ["bench", "calibrate", "--model", model, "--batch-size", "2", "--length", "16"]
    code, out, err = call(*command, "--calibration-steps", "6")
    assert code == 0, err
    assert "stack and SVD (paper)" in out
    assert "intermediate.dense V" in out
    (folder,) = (tmp_path / "results" / "bench").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert [(row["by"], row["steps"]) for row in result["rows"]] == [
        ("sums", 6),
        ("svd", 6),
        ("sums", 2),
        ("sums", 8),
    ]
    assert min(found["cosine"] for found in result["agreement"]) > 0.99
    code, out, err = call("report", "--json")
    assert code == 0, err
    assert json.loads(out)["benches"][0]["config"]["bench"] == "calibration"


def test_bench_calibrate_without_the_stack_tells_its_size_and_what_a_truncated_basis_keeps(
    call, model, tmp_path, monkeypatch
):
    command = ["bench", "calibrate", "--model", model, "--batch-size", "2", "--length", "16"]
    command += ["--calibration-steps", "3", "--basis-rank", "4"]
    monkeypatch.setattr(calibration, "available_bytes", lambda device: 1000)
    code, _, err = call(*command)
    assert code == 2
    assert "--no-stack" in err
    code, out, err = call(*command, "--no-stack", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert [(row["by"], row["steps"]) for row in result["rows"]] == [("sums", 3), ("sums", 1), ("sums", 4)]
    assert all(0 < row["gradient_seconds"] < row["seconds"] for row in result["rows"])
    assert result["agreement"] == []
    for kind in result["kinds"]:
        O, I = kind["shape"]
        assert kind["stack_bytes"] == 4 * O * I * 3 * 2  # float32, batches, blocks
        assert kind["rank"] == [4, 4]
        assert 0 < kind["both_keep"] <= 1
        assert 0 < kind["v_keeps"] < 1
    code, out, err = call(*command, "--no-stack")
    assert code == 0, err
    assert "4 × 4" in out
    assert "stack and SVD" not in out


def test_options_that_came_later_leave_the_names_of_earlier_benchmarks(model):
    config, _ = plan_calibration({"model": model, "calibration_steps": 3})
    before = {key: value for key, value in config.model_dump().items() if key not in ("basis_rank", "stack")}
    assert config_id(type(config)(**before)) == config_id(config)
    assert config_id(config.model_copy(update={"basis_rank": 4})) != config_id(config)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["bench", "--task", "oasst1"], "bench times classifiers, and oasst1 is a chat task"),
        (["bench", "calibrate", "--task", "oasst1"], "oasst1 is a chat task"),
        (["bench", "runner", "--task", "oasst1"], "oasst1 is a chat task"),
        (["bench", "--precision", "bf16-weights"], "--precision bf16-weights is for chat tasks"),
    ],
    ids=" ".join,
)
def test_what_is_of_language_models_is_refused(call, model, command, says):
    code, out, err = call(*command, "--model", model)
    assert (code, out) == (2, "")
    assert says in err


def test_bench_runner_shows_both_sides_in_a_table_in_json_and_in_the_report(call, model, tmp_path):
    data = str(write_cola(tmp_path / "glue"))
    command = ["bench", "runner", "--model", model, "--task", "cola", "--data", data, "--method", "ft"]
    command += ["--max-steps", "4", "--batch-size", "4", "--length", "16", "--rounds", "1"]
    code, out, err = call(*command)
    assert code == 0, err
    assert "Trainer and PEFT" in out
    code, out, err = call(*command, "--json")
    assert json.loads(out)["rows"][0]["other_scores"]
    code, out, err = call("report", "--json")
    assert code == 0, err
    (document,) = json.loads(out)["benches"]
    (row,) = document["result"]["rows"]
    assert (row["task"], row["method"], row["steps"]) == ("cola", "ft", 4)
    assert document["result"]["speedups"]["ft"] == pytest.approx(row["speedup"])
