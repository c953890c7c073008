"""The benchmark: rounds of fresh processes, one a row, and what their answers come to."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import InputError, WorkError
from ..settings import Record, config_id
from .folder import bench_folder
from .jobs import Calibrated, CalibrateJob, Failure, Machine, Measured, MeasureJob, PeaksJob, Setup
from .plan import PROBE_STEPS, Found
from .process import ask
from .schema import BenchConfig, BenchResult, Peaks, Row, RowSpec
from .step import save_batches

ALLOWED_IN_USE = 500_000_000  # bytes of a device that others may hold
Tell = Callable[[str], None]


def run_bench(config: BenchConfig, found: Found, results: Path, profile: bool, tell: Tell) -> BenchResult:
    """Measures every row, `config.rounds` times in turn; in each round another row is the first.

    A row that fails is not tried again; the others go on.

    Args:
        results: traces go into the folder of this benchmark in it.
        profile: whether to trace a step of each row.
        tell: is told a line when a process has ended.

    Raises:
        InputError: other processes use the CUDA device.
        WorkError: the machine cannot be measured at all.
    """
    found.fetch()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        setup = found.setup(str(scratch / "batches.safetensors"))
        of_calibration = config.calibration_steps + PROBE_STEPS
        count = of_calibration + config.rounds * (config.burn_in + config.steps)
        save_batches(found.batches(), count, Path(setup.batches))
        peaks = _peaks(config, tell)
        basis = scratch / "basis.safetensors"
        no_basis = _calibrate(config, setup, basis, tell)
        measured: dict[RowSpec, list[Measured]] = {row: [] for row in config.rows}
        failures = {row: no_basis for row in config.rows if no_basis and _needs_basis(row)}
        for number in range(config.rounds):
            for row in _rotated(config.rows, number):
                if row in failures:
                    continue
                trace = bench_folder(results, config).path / f"trace-{row.name.replace(' ', '-')}.json.gz"
                job = MeasureJob(
                    setup=setup,
                    row=row,
                    freeze_rest=config.freeze_rest,
                    density=None if config.kept else config.density,
                    kept=config.kept,
                    rank=config.rank,
                    basis=str(basis) if _needs_basis(row) else None,
                    first_batch=of_calibration + number * (config.burn_in + config.steps),
                    burn_in=config.burn_in,
                    steps=config.steps,
                    costs=number == 0,
                    trace=str(trace.resolve()) if profile and number == 0 else None,
                )
                answer = ask(job, Measured)
                if isinstance(answer, Failure):
                    failures[row] = answer
                else:
                    measured[row].append(answer)
                tell(f"round {number + 1} of {config.rounds}: {row.name}, {_words(answer)}")
    rows = [summarize(row, measured[row], failures.get(row), peaks) for row in config.rows]
    return BenchResult(id=config_id(config), peaks=peaks, rows=tuple(with_ratios(rows)))


def summarize(row: RowSpec, rounds: Sequence[Measured], failure: Failure | None, peaks: Peaks) -> Row:
    """What the rounds of a row come to; a row that failed in any of them has no numbers."""
    if failure is not None:
        return Row(**row.model_dump(), **failure.model_dump())
    seconds = [time for measured in rounds for time in measured.seconds]
    tokens = [count for measured in rounds for count in measured.tokens]
    median = statistics.median(seconds)
    first = rounds[0]
    floor = None if first.work is None else peaks.floor(first.work)
    return Row(
        **row.model_dump(),
        status="done",
        steps_per_second=1 / median,
        tokens_per_second=statistics.median(n / t for n, t in zip(tokens, seconds, strict=True)),
        seconds=tuple(measured.seconds for measured in rounds),
        peak_memory_bytes=first.memory and first.memory.peak,
        memory=first.memory,
        work=first.work,
        floor_seconds=floor,
        over_floor=floor and median / floor,
        parameters=first.parameters,
        operations=first.operations,
    )


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """The rows with their speed and memory over those of `ft` and of `lora`, where these are among them."""
    done = []
    for row in rows:
        ratios = {}
        for name in ("ft", "lora"):
            base = next((other for other in rows if other.name == name), None)
            if base is not None:
                ratios[f"speed_vs_{name}"] = _ratio(row.steps_per_second, base.steps_per_second)
                ratios[f"memory_vs_{name}"] = _ratio(row.peak_memory_bytes, base.peak_memory_bytes)
        done.append(row.model_copy(update=ratios))
    return done


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None


def _rotated(rows: Sequence[RowSpec], by: int) -> list[RowSpec]:
    by %= len(rows)
    return [*rows[by:], *rows[:by]]


def _needs_basis(row: RowSpec) -> bool:
    return row.basis == "calibrated"


def _peaks(config: BenchConfig, tell: Tell) -> Peaks:
    answer = ask(PeaksJob(device=config.device, precision=config.precision), Machine)
    if isinstance(answer, Failure):
        raise WorkError(f"the machine cannot be measured: {answer.error}")
    if answer.used_by_others > ALLOWED_IN_USE:
        raise InputError(
            f"--device cuda: others hold {answer.used_by_others / 1e6:,.0f} MB of it, which would spoil the "
            "timings: wait for them (nvidia-smi names them), or choose another with CUDA_VISIBLE_DEVICES"
        )
    tell(_words(answer))
    return answer.peaks


def _calibrate(config: BenchConfig, setup: Setup, basis: Path, tell: Tell) -> Failure | None:
    if not any(_needs_basis(row) for row in config.rows):
        return None
    job = CalibrateJob(
        setup=setup,
        by="sums",
        steps=config.calibration_steps,
        probe_steps=PROBE_STEPS,
        basis_rank=config.basis_rank,
        basis=str(basis),
    )
    answer = ask(job, Calibrated)
    tell(f"calibration: {_words(answer)}")
    return answer if isinstance(answer, Failure) else None


def _words(answer: Record) -> str:
    match answer:
        case Failure():
            return f"{answer.status}: {answer.error}"
        case Measured():
            return f"{statistics.median(answer.seconds):.3g} s a step"
        case Calibrated():
            return f"{answer.seconds:.3g} s"
        case Machine():
            operations, copied = answer.peaks.operations_per_second, answer.peaks.bytes_per_second
            return f"this machine: {operations / 1e9:,.0f} GFLOP/s, {copied / 1e9:,.0f} GB/s"
    raise TypeError(type(answer).__name__)
