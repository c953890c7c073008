"""Benchmarks of tiny models, whose jobs are done in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsegrad_cli.bench import calibration, gpu, measure, run
from sparsegrad_cli.bench.config import BenchConfig, RowSpec
from sparsegrad_cli.bench.measure import MeasureJob
from sparsegrad_cli.bench.run import plan_bench
from sparsegrad_cli.bench.target import Failure
from sparsegrad_cli.progress import NoProgress
from sparsegrad_cli.workers import failure


def answer_here(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the benchmark's jobs be done in this process; returns the list in which they are noted."""
    jobs: list[Any] = []

    def ask(function, job, device="cpu", pool=None):
        jobs.append(job)
        try:
            return function(type(job).model_validate(job.model_dump(mode="json")), NoProgress())
        except Exception as error:
            return Failure(status="failed", error=failure(error).error)

    for module in (run, calibration, gpu):
        monkeypatch.setattr(module, "ask", ask)
    monkeypatch.setattr(measure, "SIDE", {"cpu": 32})
    return jobs


def small(model: str, **how: object) -> dict[str, object]:
    """Returns what a user gives for a benchmark that takes seconds."""
    shape = {"batch_size": 2, "length": 8, "rounds": 1, "steps": 1, "calibration_steps": 2, "density": 0.05}
    return {name: value for name, value in {"model": model, **shape, **how}.items() if value is not None}


def prepare(folder: Path, model: str, **how: object) -> tuple[BenchConfig, dict[str, Any]]:
    """Returns a configuration, and the fields of its jobs with batches of two rounds of two steps written."""
    config, found = plan_bench(small(model, steps=2, burn_in=2, rank=2, **how))
    return config, found.prepare(folder, config.calibration_steps + measure.PROBE_STEPS + 2 * 4)


def measure_job(prepared: tuple[BenchConfig, dict[str, Any]], row: RowSpec, **how: Any) -> MeasureJob:
    """Returns the job of a row's first round."""
    config, shared = prepared
    own = {"row": row, "number": 0, "trace": None}
    return MeasureJob(**{**shared, "target": config, **own, **how})
