"""Rounds, what their answers come to, and what becomes of a row that fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sparsegrad_cli.bench import run as run_module
from sparsegrad_cli.bench.jobs import (
    Calibrated,
    CalibrateJob,
    Failure,
    Machine,
    Measured,
    MeasureJob,
    PeaksJob,
)
from sparsegrad_cli.bench.plan import plan
from sparsegrad_cli.bench.process import ask
from sparsegrad_cli.bench.run import run_bench, summarize, with_ratios
from sparsegrad_cli.bench.schema import Memory, Peaks, RowSpec, Work
from sparsegrad_cli.errors import InputError, WorkError

from ..checkpoints import tiny_checkpoint
from .workers import make_setup, measure_job, small

PEAKS = Peaks(operations_per_second=1e9, bytes_per_second=1e9)
MEMORY = Memory(
    weights=1,
    basis=0,
    optimizer=1,
    gradients=1,
    activations=1,
    peak=100,
    peak_phase="backward",
    resident=None,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "bert", "bert"))


def answers(monkeypatch: pytest.MonkeyPatch, used: int = 0, **failing: Failure) -> list:
    """Lets workers answer at once; those of the rows named in `failing` fail."""
    jobs = []

    def answer(job, kind):
        jobs.append(job)
        match job:
            case PeaksJob():
                return failing.get("peaks") or Machine(peaks=PEAKS, used_by_others=used)
            case CalibrateJob():
                return failing.get("calibration") or Calibrated(
                    seconds=1, gradient_seconds=None, added_bytes=0
                )
            case MeasureJob():
                done = Measured(seconds=(0.5, 0.5), tokens=(8, 8), memory=MEMORY if job.costs else None)
                return failing.get(job.row.method) or done

    monkeypatch.setattr(run_module, "ask", answer)
    return jobs


def measured(seconds, tokens=(64,), peak=100, work=None):
    memory = MEMORY.model_copy(update={"peak": peak})
    return Measured(seconds=seconds, tokens=tokens * len(seconds), memory=memory, work=work)


def test_a_row_is_the_median_over_all_rounds_and_its_distance_from_the_floor():
    work = Work(operations=5e8, bytes=1e8)
    rounds = [measured((0.5, 2.0, 1.0), work=work), measured((3.0, 1.0, 1.0))]
    row = summarize(RowSpec(method="ft"), rounds, None, PEAKS)
    assert row.steps_per_second == 1
    assert row.tokens_per_second == 64
    assert row.seconds == ((0.5, 2.0, 1.0), (3.0, 1.0, 1.0))
    assert (row.floor_seconds, row.over_floor) == (0.5, 2.0)


def test_ratios_are_to_ft_and_lora_where_they_were_measured():
    times = {"ft": 1.0, "lora": 0.5, "meprop": 2.0}
    peaks = {"ft": 100, "lora": 50, "meprop": 75}
    rows = [summarize(RowSpec(method=m), [measured((times[m],), peak=peaks[m])], None, PEAKS) for m in times]
    meprop = with_ratios(rows)[2]
    assert (meprop.speed_vs_ft, meprop.speed_vs_lora) == (0.5, 0.25)
    assert (meprop.memory_vs_ft, meprop.memory_vs_lora) == (0.75, 1.5)
    alone = with_ratios(rows[2:])[0]
    assert (alone.speed_vs_ft, alone.memory_vs_lora) == (None, None)


def test_rounds_take_turns_on_other_batches_and_count_costs_once(model, monkeypatch, tmp_path):
    jobs = answers(monkeypatch)
    methods = ["ft", "lora", "meprop"]
    config, found = plan(small(model, methods=methods, rounds=2, steps=2))
    result = run_bench(config, found, tmp_path, profile=True, tell=lambda line: None)
    measuring = [job for job in jobs if isinstance(job, MeasureJob)]
    assert [job.row.method for job in measuring] == ["ft", "lora", "meprop", "lora", "meprop", "ft"]
    assert len({job.first_batch for job in measuring[:3]}) == 1
    assert measuring[3].first_batch == measuring[0].first_batch + 4
    assert [job.costs for job in measuring] == [True] * 3 + [False] * 3
    assert [bool(job.trace) for job in measuring] == [True] * 3 + [False] * 3
    assert [row.status for row in result.rows] == ["done"] * 3
    assert not any(isinstance(job, CalibrateJob) for job in jobs)


def test_a_row_that_fails_stops_and_the_others_go_on(model, monkeypatch, tmp_path):
    memory = Failure(status="out-of-memory", error="no room")
    jobs = answers(monkeypatch, lora=memory)
    config, found = plan(small(model, methods=["ft", "lora"], density=None, rounds=3))
    ft, lora = run_bench(config, found, tmp_path, profile=False, tell=lambda line: None).rows
    assert (ft.status, ft.steps_per_second, ft.speed_vs_lora) == ("done", 2.0, None)
    assert (lora.status, lora.error, lora.steps_per_second) == ("out-of-memory", "no room", None)
    assert [job.row.method for job in jobs if isinstance(job, MeasureJob)].count("lora") == 1


def test_without_a_basis_only_the_rows_that_need_one_fail(model, monkeypatch, tmp_path):
    answers(monkeypatch, calibration=Failure(status="failed", error="not finite"))
    config, found = plan(small(model, methods=["ft", "sparsegrad"], masks=["block"]))
    ft, block = run_bench(config, found, tmp_path, profile=False, tell=lambda line: None).rows
    assert (ft.status, block.status, block.error) == ("done", "failed", "not finite")


def test_a_device_that_others_use_is_refused(model, monkeypatch, tmp_path):
    config, found = plan(small(model, methods=["ft"], density=None))
    answers(monkeypatch, used=600_000_000)
    with pytest.raises(InputError, match="others hold 600 MB"):
        run_bench(config, found, tmp_path, profile=False, tell=lambda line: None)
    answers(monkeypatch, peaks=Failure(status="failed", error="no driver"))
    with pytest.raises(WorkError, match="no driver"):
        run_bench(config, found, tmp_path, profile=False, tell=lambda line: None)


def test_a_fresh_process_measures_and_says_why_it_cannot(model, tmp_path):
    job = measure_job(make_setup(model, tmp_path), RowSpec(method="ft"))
    answer = ask(job, Measured)
    assert isinstance(answer, Measured)
    assert len(answer.seconds) == 2
    Path(job.setup.batches).unlink()
    failure = ask(job, Measured)
    assert isinstance(failure, Failure)
    assert "batches.safetensors" in failure.error


def test_a_worker_does_not_outlive_its_parents_interruption(monkeypatch):
    started = []

    def interrupted(process, *arguments):
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(PeaksJob(device="cpu", precision="fp32"), Machine)
    assert started[0].poll() is not None


def test_a_worker_that_the_system_kills_ran_out_of_memory(monkeypatch):
    real = subprocess.Popen.communicate

    def killed(process, *arguments):
        process.kill()
        return real(process)

    monkeypatch.setattr(subprocess.Popen, "communicate", killed)
    failure = ask(PeaksJob(device="cpu", precision="fp32"), Machine)
    assert isinstance(failure, Failure)
    assert failure.status == "out-of-memory"
