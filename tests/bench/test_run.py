"""Rounds, what their answers come to, and what becomes of a row that fails."""

from __future__ import annotations

import pytest

from sparsegrad_cli.bench import run as run_module
from sparsegrad_cli.bench.calibration import Calibrated, CalibrateJob
from sparsegrad_cli.bench.config import Memory, RowSpec
from sparsegrad_cli.bench.measure import Machine, MachineJob, Measured, MeasureJob, measure
from sparsegrad_cli.bench.run import plan_bench, run_bench, summarize, with_ratios
from sparsegrad_cli.bench.target import BATCHES, Failure, ask
from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.workers import WorkerPool

from ..checkpoints import tiny_checkpoint
from .dying import DieJob, die
from .targets import measure_job, prepare, small

PEAK = 1e9  # FLOPs per second
MEMORY = Memory(
    weights=1,
    basis=0,
    optimizer=1,
    gradients=1,
    activations=1,
    peak=100,
    peak_phase="backward",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "bert", "bert"))


def answers(monkeypatch: pytest.MonkeyPatch, used: int = 0, **failing: Failure) -> list:
    """Lets workers answer at once; those of the rows named in `failing` fail."""
    jobs = []

    def answer(function, job, device, pool):
        jobs.append(job)
        match job:
            case MachineJob():
                return failing.get("peaks") or Machine(peak_flops=PEAK, used_by_others=used)
            case CalibrateJob():
                return failing.get("calibration") or Calibrated(seconds=1, gradient_seconds=1, added_bytes=0)
            case MeasureJob():
                done = Measured(seconds=(0.5, 0.5), tokens=(8, 8), memory=None if job.number else MEMORY)
                return failing.get(job.row.method) or done

    monkeypatch.setattr(run_module, "ask", answer)
    return jobs


def measured(seconds, tokens=(64,), peak=100, flops=None):
    memory = MEMORY.model_copy(update={"peak": peak})
    return Measured(seconds=seconds, tokens=tokens * len(seconds), memory=memory, flops=flops)


def test_a_row_is_the_median_over_all_rounds_with_its_quartiles_and_the_use_of_the_machine():
    rounds = [measured((0.5, 2.0, 1.0), flops=4e8), measured((4.0, 1.0))]
    row = summarize(RowSpec(method="ft"), rounds, None, PEAK)
    assert row.steps_per_second == 1
    assert row.quartiles == (0.5, 1)
    assert row.tokens_per_second == 64
    assert row.seconds == ((0.5, 2.0, 1.0), (4.0, 1.0))
    assert (row.flops, row.utilization) == (4e8, 0.4)


def test_ratios_are_to_ft_and_lora_where_they_were_measured():
    times = {"ft": 1.0, "lora": 0.5, "meprop": 2.0}
    peaks = {"ft": 100, "lora": 50, "meprop": 75}
    rows = [summarize(RowSpec(method=m), [measured((times[m],), peak=peaks[m])], None, PEAK) for m in times]
    meprop = with_ratios(rows)[2]
    assert (meprop.speed_vs_ft, meprop.speed_vs_lora) == (0.5, 0.25)
    assert (meprop.memory_vs_ft, meprop.memory_vs_lora) == (0.75, 1.5)
    alone = with_ratios(rows[2:])[0]
    assert (alone.speed_vs_ft, alone.memory_vs_lora) == (None, None)


def test_ratios_compare_rows_of_one_padding_and_a_row_with_itself_padded():
    specs = [RowSpec(method=m, padding=p) for p in ("none", "longest") for m in ("ft", "lora")]
    times = (1.0, 0.5, 4.0, 1.0)
    rows = [summarize(row, [measured((t,))], None, PEAK) for row, t in zip(specs, times, strict=True)]
    found = with_ratios(rows)
    assert [row.speed_vs_ft for row in found] == [1, 2, 1, 4]
    assert [row.speed_vs_longest for row in found] == [4, 2, None, None]
    assert found[0].memory_vs_longest == 1


def test_rounds_take_turns_on_other_batches_and_count_costs_once(model, monkeypatch, tmp_path):
    jobs = answers(monkeypatch)
    methods = ["ft", "lora", "meprop"]
    config, found = plan_bench(small(model, methods=methods, rounds=2, steps=2))
    result = run_bench(config, found, tmp_path, profile=True, tell=lambda line: None)
    measuring = [job for job in jobs if isinstance(job, MeasureJob)]
    assert [job.row.method for job in measuring] == ["ft", "lora", "meprop", "lora", "meprop", "ft"]
    assert [job.number for job in measuring] == [0] * 3 + [1] * 3
    assert [bool(job.trace) for job in measuring] == [True] * 3 + [False] * 3
    assert [row.status for row in result.rows] == ["done"] * 3
    assert not any(isinstance(job, CalibrateJob) for job in jobs)


def test_a_row_that_fails_stops_and_the_others_go_on(model, monkeypatch, tmp_path):
    memory = Failure(status="out-of-memory", error="no room")
    jobs = answers(monkeypatch, lora=memory)
    config, found = plan_bench(small(model, methods=["ft", "lora"], density=None, rounds=3))
    ft, lora = run_bench(config, found, tmp_path, profile=False, tell=lambda line: None).rows
    assert (ft.status, ft.steps_per_second, ft.speed_vs_lora) == ("done", 2.0, None)
    assert (lora.status, lora.error, lora.steps_per_second) == ("out-of-memory", "no room", None)
    assert [job.row.method for job in jobs if isinstance(job, MeasureJob)].count("lora") == 1


def test_without_a_basis_only_the_rows_that_need_one_fail(model, monkeypatch, tmp_path):
    answers(monkeypatch, calibration=Failure(status="failed", error="not finite"))
    config, found = plan_bench(small(model, methods=["ft", "sparsegrad"], masks=["block"]))
    ft, block = run_bench(config, found, tmp_path, profile=False, tell=lambda line: None).rows
    assert (ft.status, block.status, block.error) == ("done", "failed", "not finite")


def test_a_device_that_others_use_is_refused(model, monkeypatch, tmp_path):
    config, found = plan_bench(small(model, methods=["ft"], density=None))
    answers(monkeypatch, used=600_000_000)
    with pytest.raises(InputError, match="others hold 600 MB"):
        run_bench(config, found, tmp_path, profile=False, tell=lambda line: None)
    answers(monkeypatch, peaks=Failure(status="failed", error="no driver"))
    with pytest.raises(WorkError, match="no driver"):
        run_bench(config, found, tmp_path, profile=False, tell=lambda line: None)


def test_one_process_measures_and_says_why_it_cannot(model, tmp_path):
    job = measure_job(prepare(tmp_path, model), RowSpec(method="ft"))
    with WorkerPool(1, "cpu", tries=1) as pool:
        answer = ask(measure, job, "cpu", pool)
        (tmp_path / BATCHES).unlink()
        failure = ask(measure, job, "cpu", pool)
    assert isinstance(answer, Measured)
    assert len(answer.seconds) == 2
    assert isinstance(failure, Failure)
    assert failure.status == "failed"
    assert BATCHES in failure.error


def test_a_worker_that_the_system_kills_ran_out_of_memory():
    killed = ask(die, DieJob())
    assert isinstance(killed, Failure)
    assert killed.status == "out-of-memory"
