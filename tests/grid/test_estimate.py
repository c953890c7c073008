"""What a plan is said to take, against runs that were really or seemingly done."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsegrad_cli.bench.folder import write_bench
from sparsegrad_cli.bench.plan import plan as plan_bench
from sparsegrad_cli.bench.run import run_bench
from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.grid.estimate import Estimate, estimate
from sparsegrad_cli.grid.estimate.planned import Planned
from sparsegrad_cli.grid.estimate.words import duration_words, estimate_words
from sparsegrad_cli.models.checkpoint import WEIGHTS
from sparsegrad_cli.store.environment import describe_environment, hardware
from sparsegrad_cli.store.schema import Result
from sparsegrad_cli.training.run import run

from ..bench.workers import answer_here, small
from ..cells import Asked, PowerCutError, RecordingWatch, changed, make_cell, resolved, write_cola
from ..checkpoints import tiny_checkpoint
from ..report.runs import write_run

TRAIN, DEV = 640, 32


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert", hidden=64, intermediate=256)),
        "task": "cola",
        "data": str(write_cola(folder / "glue", TRAIN, DEV)),
        "methods": ["ft"],
        "learning_rate": 1e-3,
        "batch_size": 16,
        "epochs": 2,
        "length": 24,
    }


def plan_runs(choices: Asked, **changes: object) -> list[Planned]:
    choices = changed(choices, **changes)
    configs, sources = resolved(choices)
    return [Planned.of(config, sources) for config in configs]


def remember(results: Path, config: RunConfig, steps_per_second: float = 2.0, **how: object) -> None:
    """A finished run like `config` on this machine, or on that of `hardware`."""
    tokens = how.pop("tokens_per_step", None)
    here = {**hardware(), **how.pop("hardware", {})}
    own = config.model_dump(exclude={"method"})
    folder = write_run(
        results, config.method, hardware=here, steps_per_second=steps_per_second, **{**own, **how}
    )
    path = folder / "result.json"
    result = Result.model_validate_json(path.read_text()).model_copy(update={"tokens_per_step": tokens})
    path.write_text(result.model_dump_json())


def test_what_ran_with_another_seed_is_measured(choices, tmp_path):
    (run,) = plan_runs(choices, seeds=[7])
    for seed, speed in ((0, 1.0), (1, 2.0), (2, 4.0)):
        remember(tmp_path, run.config.model_copy(update={"seed": seed}), speed, peak_memory_bytes=5_000_000)
    (found,) = estimate([run], [tmp_path]).runs
    assert found.steps == 2 * TRAIN // 16
    assert found.seconds_source == "measured: 3 runs"
    assert 1.0 < found.seconds / (found.steps / 2.0) < 1.2  # three passes over a small dev besides
    assert (found.memory_source, found.peak_memory_bytes) == ("measured: 3 runs", 5_000_000)


def test_other_batches_are_scaled_by_their_operations(choices, tmp_path):
    (run,) = plan_runs(choices, pad_to_max=True, max_steps=100, epochs=None)
    half = run.config.model_copy(update={"batch_size": 8})
    remember(tmp_path, half, 8.0, peak_memory_bytes=1)
    (found,) = estimate([run], [tmp_path]).runs
    assert found.seconds_source == "scaled from cola (1 run)"
    assert found.seconds == pytest.approx(100 * 2 / 8.0, rel=0.1)
    assert found.memory_how == "arithmetic"


def test_batches_of_another_task_count_where_their_tokens_are_known(choices, tmp_path):
    (run,) = plan_runs(choices)
    other = run.config.model_copy(update={"task": "sst2", "data_revision": "f" * 64})
    remember(tmp_path / "unknown", other)
    assert estimate([run], [tmp_path / "unknown"]).runs[0].seconds_how == "arithmetic"
    remember(tmp_path / "known", other, tokens_per_step=16 * 12.0)
    assert estimate([run], [tmp_path / "known"]).runs[0].seconds_source == "scaled from sst2 (1 run)"


def test_the_nearest_kin_decide(choices, tmp_path):
    (run,) = plan_runs(choices, pad_to_max=True)
    config = run.config
    remember(tmp_path, config.model_copy(update={"method": "lora", "rank": 7}), 1.0)
    lora = estimate([run], [tmp_path]).runs[0]
    assert lora.seconds_source == "scaled from lora (1 run)"
    remember(tmp_path, config, 3.0, hardware={"threads": 3 * hardware()["threads"]})
    threads = estimate([run], [tmp_path]).runs[0]
    assert threads.seconds_source == f"scaled from cola (1 run with {3 * hardware()['threads']} threads)"
    assert threads.seconds == pytest.approx(threads.steps, rel=0.2)  # a third as fast
    remember(tmp_path, config.model_copy(update={"batch_size": 8}), 3.0)
    assert estimate([run], [tmp_path]).runs[0].seconds_source == "scaled from cola (1 run)"


def test_a_benchmark_tells_the_speed_too(choices, tmp_path, monkeypatch):
    answer_here(monkeypatch)
    config, found = plan_bench(small(choices["model"], methods=("lora",), density=None))
    result = run_bench(config, found, tmp_path, profile=False, tell=print)
    write_bench(tmp_path, config, result, describe_environment(config.checkpoint, "random", restarts=0))
    (run,) = plan_runs(choices, methods=["lora"])
    assert estimate([run], [tmp_path]).runs[0].seconds_source == "scaled from random tokens (1 run)"


def test_another_machine_tells_the_memory_but_not_the_time(choices, tmp_path):
    (run,) = plan_runs(choices)
    remember(tmp_path, run.config, hardware={"cores": 999}, peak_memory_bytes=7_000_000)
    (found,) = estimate([run], [tmp_path]).runs
    assert found.seconds_source == "arithmetic, rough"
    assert found.seconds > 0
    assert found.peak_memory_bytes == 7_000_000


def test_on_a_gpu_where_nothing_ran_the_time_is_not_known(choices, tmp_path):
    (run,) = plan_runs(choices)
    remember(tmp_path, run.config)
    on_gpu = replace(run, config=run.config.model_copy(update={"device": "cuda"}))
    found = estimate([on_gpu], [tmp_path])
    assert found.seconds is None
    assert found.runs_without_time == 1
    assert found.runs[0].memory_how == "arithmetic"
    assert "time unknown" in estimate_words(found)
    both = estimate([run, on_gpu], [tmp_path])
    assert both.seconds == estimate([run], [tmp_path]).seconds
    assert "time unknown for 1 of 2 runs" in estimate_words(both)


def test_a_real_run_is_foretold(choices, tmp_path):
    (planned,) = plan_runs(choices, methods=["lora"], max_steps=40, epochs=None)
    before = estimate([planned], [tmp_path]).runs[0]
    watched = changed(choices, methods=["lora"], max_steps=40, epochs=None)
    result = run(make_cell(tmp_path, RecordingWatch(), watched))
    assert result.status == "done"
    assert before.peak_memory_bytes == pytest.approx(result.peak_memory_bytes, rel=0.1)
    assert result.tokens_per_step == pytest.approx(16 * planned.padded(16), rel=0.05)
    after = estimate([planned], [tmp_path]).runs[0]
    assert after.seconds_source == "measured: 1 run"
    assert after.seconds > planned.steps / result.steps_per_second


def test_steps_and_evaluations_as_the_trainer_takes_them(choices):
    (run,) = plan_runs(choices, batch_size=24, epochs=2.5)
    assert run.steps == math.ceil(2.5 * math.ceil(TRAIN / 24))
    assert run.evaluations == 3
    assert not run.may_stop_early
    (run,) = plan_runs(choices, max_train_examples=100, epochs=20)
    assert (run.steps, run.evaluations, run.may_stop_early) == (20 * 7, 20, True)
    (run,) = plan_runs(choices, max_steps=50, epochs=None, eval_steps=20, patience=1)
    assert (run.steps, run.evaluations, run.may_stop_early) == (50, 2, True)


def test_dev_is_halved_where_one_half_selects(choices):
    (paper,), (heldout,) = plan_runs(choices), plan_runs(choices, protocol="heldout")
    assert (paper.selection_rows, paper.reported_rows) == (DEV, DEV)
    assert (heldout.selection_rows, heldout.reported_rows) == (DEV // 2, DEV // 2)


def test_a_calibration_that_runs_share_counts_once(choices, tmp_path):
    sparse = {"methods": ["sparsegrad"], "calibration_steps": 1000}
    dynamic, block = plan_runs(choices, **sparse), plan_runs(choices, **sparse, support="block")
    alone = estimate(block, [tmp_path]).seconds
    together = estimate([*dynamic, *block], [tmp_path])
    assert together.runs[1].seconds < alone / 2
    other_seed = estimate([*dynamic, *plan_runs(choices, **sparse, support="block", seeds=[1])], [tmp_path])
    assert other_seed.runs[1].seconds > alone / 2


def test_lengths_from_a_sample_are_those_of_all(choices):
    (run,) = plan_runs(choices)
    ids = make_cell(Path("unused"), RecordingWatch(), choices).inputs.train["input_ids"]
    every = np.array([len(row) for row in ids])
    assert run.longest == every.max()
    batches = np.random.default_rng(0).choice(every, (4000, 16)).max(1)
    assert run.padded(16) == pytest.approx(batches.mean(), rel=0.03)
    (padded,) = plan_runs(choices, pad_to_max=True)
    assert padded.longest == padded.padded(16) == 24


def test_workers_share_the_work_and_add_up_their_memory(choices, tmp_path):
    runs = plan_runs(choices, seeds=range(5))
    one, two, many = (estimate(runs, [tmp_path], workers=workers) for workers in (1, 2, 9))
    each = one.seconds / 5
    assert one.seconds_with_workers == pytest.approx(one.seconds)
    assert two.seconds_with_workers / two.seconds == pytest.approx(3 / 5)
    assert many.seconds_with_workers / many.seconds == pytest.approx(1 / 5)
    assert each > 0
    assert two.peak_memory_with_workers == 2 * one.peak_memory_bytes
    assert many.peak_memory_with_workers == 5 * one.peak_memory_bytes


def test_kept_models_take_room(choices, tmp_path):
    runs = plan_runs(choices, seeds=range(2))
    gone, kept = (estimate(runs, [tmp_path], keep_model=keep) for keep in (False, True))
    weights = sum(p.nbytes for p in runs[0].model.parameters())
    assert kept.disk_bytes - gone.disk_bytes == pytest.approx(2 * weights, rel=0.01)


FROZEN: dict[str, dict[str, object]] = {
    "ft": {},
    "lora": {"methods": ["lora"], "rank": 8},
    "fixed": {"methods": ["sparsegrad"], "density": 0.05, "calibration_steps": 2, "support": "fixed"},
}


@pytest.mark.parametrize("variant", FROZEN)
def test_checkpoints_are_as_large_as_said(variant, choices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path / "cache"))
    asked = changed(choices, epochs=None, max_steps=3, freeze_rest=True, **FROZEN[variant])
    (found,) = estimate(plan_runs(asked), [tmp_path]).runs
    cell = make_cell(tmp_path, RecordingWatch(("score", 1)), asked, checkpoint_seconds=0.0)
    with pytest.raises(PowerCutError):
        run(cell)
    left = cell.folder.last_checkpoint()
    size = sum((left / name).stat().st_size for name in (WEIGHTS, "optimizer.pt"))
    assert found.scratch_bytes / (3 * size) == pytest.approx(1, abs=0.1)  # the best, the last and the next


def test_words(choices, tmp_path):
    runs = plan_runs(choices, seeds=[1, 2], epochs=20, patience=3)
    remember(tmp_path, runs[0].config.model_copy(update={"seed": 0}), 0.5, peak_memory_bytes=1_340_000_000)
    text = estimate_words(estimate(runs, [tmp_path], workers=2))
    assert text.startswith("about 54 min of work (at most: 2 of 2 may stop early), 27 min with 2 workers; ")
    assert "the largest run holds about 1.3 GB of tensors, 2 at a time 2.7 GB; " in text
    assert text.endswith("times: 2 measured in runs like them")
    assert estimate_words(estimate([], [tmp_path])) == "nothing to do"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (119, "119 s"),
        (3540, "59 min"),
        (3570, "1 h"),
        (7800, "2 h 10 min"),
        (86399, "1 d"),
        (100_000, "1 d 4 h"),
    ],
)
def test_durations(seconds, words):
    assert duration_words(seconds) == words


def test_an_estimate_is_json(choices, tmp_path):
    found = estimate(plan_runs(choices), [tmp_path])
    assert Estimate.model_validate_json(found.model_dump_json()) == found
