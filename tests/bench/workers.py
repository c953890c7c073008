"""Workers without processes, and plans for a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.bench import machine, run, worker
from sparsegrad_cli.bench.jobs import CalibrateJob, MeasureJob, PeaksJob, Setup
from sparsegrad_cli.bench.plan import Choices, find
from sparsegrad_cli.bench.schema import RowSpec
from sparsegrad_cli.bench.step import save_batches


def answer_here(monkeypatch: pytest.MonkeyPatch) -> list[PeaksJob | MeasureJob | CalibrateJob]:
    """Lets the benchmark's jobs be done in this process; gives the list that they will be noted in."""
    jobs = []

    def ask(job, kind):
        jobs.append(job)
        return worker._answer(job)

    monkeypatch.setattr(run, "ask", ask)
    monkeypatch.setattr(machine, "SIDE", {"cpu": 32})
    monkeypatch.setattr(machine, "COPIED", {"cpu": 1024})
    return jobs


def small(model: str, **how: object) -> Choices:
    """A benchmark that takes seconds."""
    shape = {"batch_size": 2, "length": 8, "rounds": 1, "steps": 1, "calibration_steps": 2, "density": 0.05}
    return Choices(model=model, **{**shape, **how})


def make_setup(model: str, folder: Path, **how: object) -> Setup:
    """What a worker is told, with its batches written."""
    found = find(small(model, **how))
    setup = found.setup(str(folder / "batches.safetensors"))
    save_batches(found.batches(), 8, Path(setup.batches))
    return setup


def measure_job(setup: Setup, row: RowSpec, basis: Path | None = None, **how: object) -> MeasureJob:
    """Two steps of burn-in, two that are timed, and what they cost."""
    usual = {"freeze_rest": False, "density": 0.05, "kept": None, "rank": 2, "first_batch": 4, "burn_in": 2}
    usual |= {"steps": 2, "costs": True, "trace": None}
    return MeasureJob(setup=setup, row=row, basis=basis and str(basis), **{**usual, **how})
