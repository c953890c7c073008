"""How long plans are said to take, against runs that were done; memory and disk of several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.estimate import Estimate, duration_words, estimate, estimate_lines
from sparsegrad_cli.estimate.time import Workload, Workloads
from sparsegrad_cli.store.environment import hardware
from sparsegrad_cli.store.records import Result
from sparsegrad_cli.training.resolve import Sources

from ..checkpoints import tiny_checkpoint
from ..planned import Asked, RecordingWatch, changed, plan_run, resolved, write_cola
from ..report.runs import write_run

TRAIN, DEV = 640, 32


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert", layers=1)),
        "task": "cola",
        "data": str(write_cola(folder / "glue", TRAIN, DEV)),
        "methods": ["ft"],
        "learning_rate": 1e-3,
        "batch_size": 16,
        "epochs": 2,
        "length": 24,
    }


def plan_runs(choices: Asked, **changes: object) -> list[tuple[RunConfig, Sources]]:
    configs, sources = resolved(changed(choices, **changes))
    return [(config, sources) for config in configs]


def work_of(choices: Asked, **changes: object) -> Workload:
    return Workloads().of(*plan_runs(choices, **changes)[0])


def remember(results: Path, config: RunConfig, steps_per_second: float, **how: object) -> None:
    """A finished run like `config` on this machine, or on that of `hardware`."""
    tokens = how.pop("tokens_per_step", 16 * 12.0)
    here = {**hardware(), **how.pop("hardware", {})}
    own = config.model_dump(exclude={"method"})
    folder = write_run(results, config.method, hardware=here, steps_per_second=steps_per_second, **own)
    path = folder / "result.json"
    result = Result.model_validate_json(path.read_text()).model_copy(update={"tokens_per_step": tokens})
    path.write_text(result.model_dump_json())


def seconds(runs: Sequence[tuple[RunConfig, Sources]], results: Path) -> float | None:
    return estimate(runs, [results]).seconds


@pytest.mark.usefixtures("any_memory")
def test_the_median_of_past_runs_is_scaled_by_tokens(choices, tmp_path):
    ((config, _),) = runs = plan_runs(choices, padding="max", max_steps=100, epochs=None)
    for seed, speed in enumerate((1.0, 2.0, 8.0)):
        remember(tmp_path, config.model_copy(update={"seed": 5 + seed}), speed)
    (found,) = estimate(runs, [tmp_path]).runs
    scoring = 4 * DEV / 3 / 16 / 2.0  # evaluations after epochs 1, 2 and 3 and in the end, a third as dear
    assert (found.steps, found.past_runs, found.needs) == (100, 3, None)
    assert found.seconds == pytest.approx(100 / 2.0 + scoring, rel=0.02)
    double = plan_runs(choices, padding="max", max_steps=100, epochs=None, batch_size=32)
    assert seconds(double, tmp_path) == pytest.approx(2 * found.seconds, rel=0.05)


@pytest.mark.usefixtures("any_memory")
def test_another_task_tells_the_speed_but_not_another_method_machine_or_precision(choices, tmp_path):
    ((config, _),) = runs = plan_runs(choices)
    others: list[dict[str, object]] = [{"method": "lora"}, {"precision": "bf16"}, {"freeze_rest": True}]
    for change in others:
        remember(tmp_path, config.model_copy(update=change), 2.0)
    remember(tmp_path, config.model_copy(update={"seed": 1}), 2.0, hardware={"threads": 99})
    remember(tmp_path, config.model_copy(update={"seed": 2}), 2.0, tokens_per_step=None)
    found = estimate(runs, [tmp_path, tmp_path / "missing"])
    assert (found.seconds, found.runs[0].past_runs) == (None, 0)
    (line,) = (line for line in estimate_lines(found) if line.startswith("time"))
    assert "unknown" in line
    assert f"{choices['model']} by ft" in line
    remember(tmp_path, config.model_copy(update={"task": "sst2", "data_revision": "f" * 64}), 2.0)
    assert seconds(runs, tmp_path) > 0


@pytest.mark.usefixtures("any_memory")
def test_a_damaged_result_is_left_out(choices, tmp_path):
    ((config, _),) = runs = plan_runs(choices)
    remember(tmp_path, config.model_copy(update={"seed": 1}), 2.0)
    (path,) = tmp_path.glob("runs/*/result.json")
    path.write_text("{")
    with pytest.warns(UserWarning, match="left out"):
        assert seconds(runs, tmp_path) is None


def test_steps_and_evaluations_as_the_trainer_takes_them(choices):
    work = work_of(choices, batch_size=24, epochs=2.5)
    assert (work.steps, work.evaluations) == (math.ceil(2.5 * math.ceil(TRAIN / 24)), 3)
    assert not work.may_stop_early
    work = work_of(choices, max_train_examples=100, epochs=20)
    assert (work.steps, work.evaluations, work.may_stop_early) == (20 * 7, 20, True)
    work = work_of(choices, max_steps=50, epochs=None, eval_steps=20, patience=1)
    assert (work.steps, work.evaluations, work.may_stop_early) == (50, 3, True)
    assert work_of(choices).reported_rows == DEV
    assert work_of(choices, protocol="heldout").reported_rows == DEV // 2


def test_lengths_from_a_sample_are_those_of_all(choices):
    work = work_of(choices, padding="longest")
    ids = plan_run(Path("unused"), RecordingWatch(), choices).inputs.train["input_ids"]
    every = np.array([len(row) for row in ids])
    assert work.longest == every.max()
    batches = np.random.default_rng(0).choice(every, (4000, 16)).max(1)
    assert work.padded == pytest.approx(batches.mean(), rel=0.03)
    padded = work_of(choices, padding="max")
    assert padded.longest == padded.padded == 24
    real = work_of(choices, padding="none")
    assert real.padded == pytest.approx(every.mean(), rel=0.03)
    means = np.random.default_rng(0).choice(every, (4000, 16)).mean(1)
    assert means.max() <= real.longest <= every.max()


def test_sequences_of_conversations_are_those_that_are_packed(tmp_path, monkeypatch):
    model = str(tiny_checkpoint(tmp_path / "llama", "llama"))
    chat = {
        "model": model,
        "task": "oasst1",
        "data": "demo",
        "methods": ["ft"],
        "length": 64,
        "batch_size": 4,
    }
    work = work_of(chat, epochs=1)
    inputs = plan_run(tmp_path, RecordingWatch(), changed(chat, loss_on="all", epochs=1)).inputs
    assert work.steps == pytest.approx(len(inputs.train) / 4, rel=0.1)
    assert work.longest == work.padded == 64


@pytest.mark.usefixtures("any_memory")
def test_a_calibration_that_runs_share_counts_once(choices, tmp_path):
    sparse = {"methods": ["sparsegrad"], "calibration_steps": 1000, "padding": "max"}
    runs = [*plan_runs(choices, **sparse), *plan_runs(choices, **sparse, learning_rate=1e-4)]
    remember(tmp_path, runs[0][0].model_copy(update={"seed": 9}), 2.0)
    first, second = (run.seconds for run in estimate(runs, [tmp_path]).runs)
    assert first - second == pytest.approx(1004 / 2.0)


@pytest.mark.usefixtures("any_memory")
def test_workers_share_the_work_and_add_up_their_memory(choices, tmp_path):
    runs = plan_runs(choices, seeds=range(5))
    remember(tmp_path, runs[0][0].model_copy(update={"seed": 9}), 2.0)
    one, many = (estimate(runs, [tmp_path], workers, hardware()["threads"]) for workers in (1, 9))
    two = estimate(runs, [tmp_path], 2, hardware()["threads"], keep_model=True)
    assert one.seconds_with_workers == pytest.approx(one.seconds)
    assert two.seconds_with_workers == pytest.approx(two.seconds / 2)
    assert many.seconds_with_workers == pytest.approx(many.seconds / 5)
    assert two.peak_memory_with_workers == 2 * one.peak_memory_bytes
    assert many.peak_memory_with_workers == 5 * one.peak_memory_bytes
    assert Estimate.model_validate_json(two.model_dump_json()) == two
    assert two.disk_bytes - one.disk_bytes == 5 * one.runs[0].memory.weights


def test_a_row_of_memory_for_each_setting_of_a_step_is_that_of_its_largest_run(choices):
    runs = plan_runs(choices, methods=["ft", "lora"], seeds=[0, 1])
    runs += [*plan_runs(choices, batch_size=32), *plan_runs(choices, methods=["lora"], rank=2)]
    found = estimate(runs, [])
    kinds = [run.kind for run in found.runs]
    assert kinds == ["ft", "ft", "lora rank 7", "lora rank 7", "ft", "lora rank 2"]
    (larger,) = plan_runs(choices, batch_size=32)
    assert found.runs[0].memory == estimate([larger], []).runs[0].memory
    lines = estimate_lines(found)
    (head,) = (i for i, line in enumerate(lines) if line.startswith("memory"))
    assert lines[head].split()[1:] == ["weights", "gradients", "moments", "activations", "peak"]
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["ft", "lora", "lora"]
    assert "nothing to do" in estimate_lines(estimate([], []))[0]


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0.2, "1 s"),
        (119, "119 s"),
        (3540, "59 min"),
        (3570, "1 h"),
        (7800, "2 h 10 min"),
        (100_000, "1 d 4 h"),
    ],
)
def test_durations(amount, words):
    assert duration_words(amount) == words
