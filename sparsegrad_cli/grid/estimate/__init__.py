"""What a plan will take before it is run: time, memory, disk; every figure says what it is from."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from pathlib import Path

from ...settings import Record
from ...store.environment import hardware
from ...training.footprint import Footprint
from .arithmetic import Arithmetic
from .past import read_past
from .planned import Planned
from .speeds import How, Speed, Speeds

__all__ = ["Estimate", "Planned", "RunEstimate", "estimate"]

CHECKPOINTS = 3  # of a run that goes on: the best, the last, and the next while it is written
ROW_BYTES = 64  # of predictions, an example


class RunEstimate(Record):
    """Of one run, from its start to its end."""

    id: str
    steps: int  # optimizer steps, at most
    may_stop_early: bool  # then steps and seconds are the most that it takes
    seconds: float | None  # calibration, training, evaluations; None: not known
    seconds_how: How
    seconds_source: str  # in words
    peak_memory_bytes: int  # of tensors, on the device
    memory_how: How
    memory_source: str
    memory: Footprint  # counted from the shapes: of the last step on the longest batch
    disk_bytes: int  # that stay
    scratch_bytes: int  # of checkpoints, while it goes on


class Estimate(Record):
    """Of all runs."""

    runs: tuple[RunEstimate, ...]
    workers: int
    seconds: float | None  # of work; None: not known of any run
    seconds_with_workers: float | None  # the longest runs first, each to the worker that is free first
    runs_without_time: int
    may_stop_early: int  # runs
    peak_memory_bytes: int  # of the largest run
    peak_memory_with_workers: int  # of the largest runs that may go on at once
    disk_bytes: int
    scratch_bytes: int  # of the runs that may go on at once


def estimate(
    planned: Sequence[Planned],
    results: Sequence[Path],
    workers: int = 1,
    threads: int | None = None,
    keep_model: bool = False,
) -> Estimate:
    """What the runs will take.

    Args:
        results: results folders, whose finished runs and benchmarks tell how fast things go; one that is not
            there tells nothing.
        workers: runs at a time.
        threads: of each worker on a CPU; None: as many as this process has.
        keep_model: whether every trained model is kept.

    Raises:
        InputError: a file of a result is not what it should be, or a tokenizer cannot be read.
    """
    here = hardware()
    here["threads"] = threads or here["threads"]
    arithmetic = Arithmetic()
    speeds = Speeds(read_past(results), planned, here, arithmetic)
    calibrated: set[tuple[object, ...]] = set()
    runs = []
    for run in planned:
        calibrates = run.basis_key is not None and run.basis_key not in calibrated
        if run.basis_key is not None:
            calibrated.add(run.basis_key)
        runs.append(_of_run(run, speeds, arithmetic, calibrates, keep_model))
    known = [run.seconds for run in runs if run.seconds is not None]
    return Estimate(
        runs=tuple(runs),
        workers=workers,
        seconds=sum(known) if known else None,
        seconds_with_workers=_longest_first(known, workers) if known else None,
        runs_without_time=len(runs) - len(known),
        may_stop_early=sum(run.may_stop_early for run in runs),
        peak_memory_bytes=max((run.peak_memory_bytes for run in runs), default=0),
        peak_memory_with_workers=_largest([run.peak_memory_bytes for run in runs], workers),
        disk_bytes=sum(run.disk_bytes for run in runs),
        scratch_bytes=_largest([run.scratch_bytes for run in runs], workers),
    )


def _of_run(
    run: Planned, speeds: Speeds, arithmetic: Arithmetic, calibrates: bool, keep_model: bool
) -> RunEstimate:
    speed = speeds.of(run)
    held = arithmetic.footprint(run)
    measured = speeds.measured_peaks(run)
    count = f"{len(measured)} run{'s' if len(measured) > 1 else ''}"
    return RunEstimate(
        id=run.config.run_id(),
        steps=run.steps,
        may_stop_early=run.may_stop_early,
        seconds=_seconds(run, speed, arithmetic, calibrates),
        seconds_how=speed.how,
        seconds_source=speed.source,
        peak_memory_bytes=max(measured, default=held.peak),
        memory_how="measured" if measured else "arithmetic",
        memory_source=f"measured: {count}" if measured else "counted from the shapes",
        memory=held,
        disk_bytes=ROW_BYTES * run.reported_rows + keep_model * held.weights,
        scratch_bytes=CHECKPOINTS * (held.changing + held.moments),
    )


def _seconds(run: Planned, speed: Speed, arithmetic: Arithmetic, calibrates: bool) -> float | None:
    if speed.per_second is None:
        return None
    config = run.config
    tokens = run.padded(config.batch_size // (config.accumulation_steps or 1))
    operations = run.steps * arithmetic.step(run, config, tokens)
    operations += arithmetic.evaluation(run, run.evaluations * run.selection_rows + run.reported_rows)
    if calibrates:
        operations += arithmetic.calibration(run)
    return operations / speed.per_second


def _longest_first(seconds: Collection[float], workers: int) -> float:
    """Until all is done, when the worker that is free first takes the longest that is left."""
    busy_until = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(busy_until, busy_until[0] + each)
    return max(busy_until)


def _largest(amounts: Collection[int], count: int) -> int:
    return sum(heapq.nlargest(count, amounts))
