"""`sparsegrad bench`: choose the rows, measure them in turns, and compare what they came to."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from ..config import SETTINGS, BasisKind, Given, Mask, check_given
from ..core import PLACES
from ..errors import InputError, WorkError, unknown
from ..methods import get_method
from ..methods.base import MethodConfig
from ..methods.sparse import SparseMethod, default_place
from ..settings import config_id
from ..store.environment import describe_environment
from ..store.records import Environment
from ..training.checks import check_sizes, check_used
from ..training.resolve import lora_rank
from ..workers import Pool, WorkerPool
from .calibration import Calibrated, CalibrateJob, find_basis
from .config import (
    BENCH_OPTIONS,
    AnyConfig,
    BenchConfig,
    BenchResult,
    Row,
    RowSpec,
    RunnerConfig,
    bench_folder,
)
from .measure import (
    PROBE_STEPS,
    Machine,
    MachineJob,
    Measured,
    MeasureJob,
    measure,
    measure_machine,
    needs_basis,
)
from .reference import REFERENCE_FORMS
from .target import BASIS, Failure, ResolvedTarget, Tell, ask, find_target

OF_THE_PAPER = ("ft", "lora", "meprop", "sparsegrad")  # methods that are measured where none is named
CALIBRATED_MASKS = ("dynamic", "fixed", "block")
STEPS = {"cpu": 5, "cuda": 30}  # timed, in a round
BURN_IN = {"cpu": 2, "cuda": 20}
ALLOWED_IN_USE = 500_000_000  # bytes of a device that others may hold


def plan_bench(given: Given, shapes_only: bool = False) -> tuple[BenchConfig, ResolvedTarget]:
    """Finds model and data, fills in the defaults, and checks that all fit together.

    Args:
        given: by name, settings of `config.BENCH_OPTIONS`.
        shapes_only: see `find_target`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    given = check_given(given, BENCH_OPTIONS)
    basis_rank, kept = given.get("basis_rank"), given.get("kept")
    methods, places, masks = (given.get(name, ()) for name in ("methods", "places", "masks"))
    rows = choose_rows(methods, places, masks, basis_rank)
    used: dict[str, Any] = {
        name: given[name] for name in ("density", "kept", "rank", "basis_rank") if name in given
    }
    check_used(used, [row.method for row in rows])
    found = find_target(given, shapes_only)
    target = found.target
    density = given.get("density", SETTINGS["density"].default_for(is_chat=False))
    check_sizes(target.model, found.shapes, kept, given.get("rank"), basis_rank, density)
    paddings = [found.padding(padding) for padding in given.get("padding") or (None,)]
    config = BenchConfig(
        **target.model_dump(),
        rows=tuple(
            _placed(row, target.device, basis_rank).model_copy(update={"padding": padding})
            for padding in dict.fromkeys(paddings)
            for row in rows
        ),
        freeze_rest=given.get("freeze_rest", False),
        density=None if kept else density,
        kept=kept,
        rank=given.get("rank") or lora_rank(found.skeleton, is_chat=False),
        basis_rank=basis_rank,
        calibration_steps=given.get("calibration_steps", BENCH_OPTIONS["calibration_steps"].default),
        rounds=given.get("rounds", BENCH_OPTIONS["rounds"].off),
        steps=given.get("steps", STEPS[target.device]),
        burn_in=given.get("burn_in", BURN_IN[target.device]),
    )
    for row in rows:
        get_method(row.method).check(found.skeleton, MethodConfig(rank=config.rank))
    return config, found


def choose_rows(
    methods: Sequence[str] = (),
    places: Sequence[str] = (),
    masks: Sequence[str] = (),
    basis_rank: int | None = None,
) -> list[RowSpec]:
    """Returns a row for each method; of sparsegrad one for each place, and one for each mask chosen once.

    Args:
        methods: by default those of the paper's tables.
        places, masks: where either is given, only the rows that they name.
        basis_rank: of a truncated basis: the paper's own layer takes none, the adapter no other.

    Raises:
        InputError: a name that is not known, a place or mask without sparsegrad, or a place that does not go
            with the basis.
    """
    every_place = (*PLACES, *REFERENCE_FORMS)
    for name in methods:
        get_method(name)
    for option, given, known in (
        ("place", places, every_place),
        ("mask", masks, CALIBRATED_MASKS),
    ):
        for name in given:
            if name not in known:
                raise InputError(f"--{option}: {unknown(option, name, known)}")
    unfit: tuple[str, ...] = ("adapter",) if basis_rank is None else REFERENCE_FORMS
    for place in places:
        if place in unfit:
            wants = "give --basis-rank" if basis_rank is None else "leave --basis-rank out"
            raise InputError(f"--place {place}: {wants}, or take another place")
    names = sorted(dict.fromkeys(methods or OF_THE_PAPER), key=lambda name: get_method(name).order)
    if "sparsegrad" not in names and (places or masks):
        raise InputError("--place and --mask are of --method sparsegrad: add it, or leave them out")
    has_all = not places and not masks
    if has_all or (not places and "dynamic" in masks):
        places = every_place
    rows = []
    for name in names:
        method = get_method(name)
        if not issubclass(method, SparseMethod):
            rows.append(RowSpec(method=name))
            continue
        row = RowSpec(method=name, basis=method.basis, mask=method.mask)
        if name != "sparsegrad":
            rows.append(row)
            continue
        for place in every_place:
            if place in places and place not in unfit:
                placed = row.model_copy(update={"place": place})
                rows += [placed, *[placed.model_copy(update={"recompute": True})] * (place == "backward")]
        once = [mask for mask in CALIBRATED_MASKS if mask != "dynamic" and (has_all or mask in masks)]
        rows += [row.model_copy(update={"mask": mask}) for mask in once]
    return rows


def _placed(row: RowSpec, device: str, basis_rank: int | None) -> RowSpec:
    """Returns the row at the place that a run takes where the user names none."""
    if row.mask is None or row.place is not None:
        return row
    place = default_place(
        cast(BasisKind, row.basis),
        cast(Mask, row.mask),
        is_truncated=basis_rank is not None,
        accumulates=False,
        half_weights=False,
        device=device,
    )
    return row.model_copy(update={"place": place})


def run_bench(
    config: BenchConfig,
    found: ResolvedTarget,
    results: Path,
    profile: bool,
    tell: Tell,
    pool: Pool | None = None,
    scratch: Path | None = None,
) -> BenchResult:
    """Measure every row, `config.rounds` times in turn; in each round another row is the first.

    On a CPU each measurement has a fresh process; on CUDA, where the allocator's statistics need none, all
    share one, which saves most of the time. A row that fails is not tried again; the others go on.

    Args:
        results: traces go into the folder of this benchmark in it.
        profile: whether to trace a step of each row.
        tell: called with a line when a measurement has ended.
        pool: whose only worker measures.
        scratch: a folder for files; a basis that it holds is used again.

    Raises:
        InputError: other processes use the CUDA device.
        WorkError: the machine cannot be measured at all.
    """
    is_alone = pool is None
    with ExitStack() as stack:
        if pool is None and config.device == "cuda":
            pool = stack.enter_context(WorkerPool(1, config.device, tries=1))
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        batches = config.calibration_steps + PROBE_STEPS + config.rounds * (config.burn_in + config.steps)
        shared = found.prepare(scratch, batches)
        peak_flops = find_peak(config.device, config.precision, pool, tell, is_first=is_alone)
        no_basis = calibrate_rows(config, shared, pool, tell)
        paddings = {row.padding for row in config.rows}
        measured: dict[RowSpec, list[Measured]] = {row: [] for row in config.rows}
        failures = {row: no_basis for row in config.rows if no_basis and needs_basis(row)}
        for number in range(config.rounds):
            for row in _rotated(config.rows, number):
                if row in failures:
                    continue
                name = row.name if len(paddings) == 1 else f"{row.name} {row.padding}"
                trace = bench_folder(results, config).path / f"trace-{name.replace(' ', '-')}.json.gz"
                own: dict[str, Any] = {"target": config, "row": row, "number": number}
                own["trace"] = str(trace.resolve()) if profile and number == 0 else None
                answer = ask(measure, MeasureJob(**{**shared, **own}), config.device, pool)
                if isinstance(answer, Failure):
                    failures[row] = answer
                    words = f"{answer.status}: {answer.error}"
                else:
                    measured[row].append(answer)
                    words = f"{statistics.median(answer.seconds):.3g} s a step"
                tell(f"round {number + 1} of {config.rounds}: {name}, {words}")
    rows = [summarize(row, measured[row], failures.get(row), peak_flops) for row in config.rows]
    return BenchResult(id=config_id(config), peak_flops=peak_flops, rows=tuple(with_ratios(rows)))


def summarize(row: RowSpec, rounds: Sequence[Measured], failure: Failure | None, peak_flops: float) -> Row:
    """Returns what the rounds of a row came to; a row that failed in any of them has no numbers."""
    if failure is not None:
        return Row(**row.model_dump(), **failure.model_dump())
    seconds = [time for measured in rounds for time in measured.seconds]
    tokens = [count for measured in rounds for count in measured.tokens]
    median, first = statistics.median(seconds), rounds[0]
    quartiles = statistics.quantiles(seconds, method="inclusive") if len(seconds) > 1 else [median] * 3
    return Row(
        **row.model_dump(),
        status="done",
        steps_per_second=1 / median,
        quartiles=(1 / quartiles[2], 1 / quartiles[0]),
        tokens_per_second=statistics.median(n / t for n, t in zip(tokens, seconds, strict=True)),
        seconds=tuple(measured.seconds for measured in rounds),
        peak_memory_bytes=None if first.memory is None else first.memory.peak,
        memory=first.memory,
        flops=first.flops,
        utilization=first.flops and first.flops / median / peak_flops,
        parameters=first.parameters,
        operations=first.operations,
    )


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with their speed and memory over those of others, where these were measured.

    These are ft and lora with the same padding, and the same row with padding `longest`.
    """
    by_name = {(row.name, row.padding): row for row in rows}
    done = []
    for row in rows:
        bases = {"ft": ("ft", row.padding), "lora": ("lora", row.padding)}
        if row.padding != "longest":
            bases["longest"] = (row.name, "longest")
        ratios = {}
        for name, key in bases.items():
            base = by_name.get(key)
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


def find_peak(device: str, precision: str, pool: Pool | None, tell: Tell, is_first: bool = True) -> float:
    """Returns the FLOPs per second that the device reaches in a matrix product.

    Args:
        is_first: refuse a CUDA device that is used; later we use it ourselves.

    Raises:
        InputError: other processes use it.
        WorkError: it cannot be measured.
    """
    job = MachineJob(device=device, precision=precision)
    answer: Machine | Failure = ask(measure_machine, job, device, pool)
    if isinstance(answer, Failure):
        raise WorkError(f"the machine cannot be measured: {answer.error}")
    if is_first and answer.used_by_others > ALLOWED_IN_USE:
        raise InputError(
            f"--device cuda: others hold {answer.used_by_others / 1e6:,.0f} MB of it, which would spoil the "
            "timings: wait for them (nvidia-smi names them), or choose another with CUDA_VISIBLE_DEVICES"
        )
    tell(f"this machine: {answer.peak_flops / 1e9:,.0f} GFLOP/s")
    return answer.peak_flops


def calibrate_rows(
    config: BenchConfig, shared: dict[str, Any], pool: Pool | None, tell: Tell
) -> Failure | None:
    """Write the basis that rows need, unless it is there; returns why there is none."""
    basis = Path(shared["scratch"]) / BASIS
    if basis.is_file() or not any(needs_basis(row) for row in config.rows):
        return None
    job = CalibrateJob(
        **shared,
        by="sums",
        steps=config.calibration_steps,
        probe_steps=PROBE_STEPS,
        basis_rank=config.basis_rank,
        padding=config.rows[0].padding,
        basis=str(basis),
    )
    answer: Calibrated | Failure = ask(find_basis, job, config.device, pool)
    if isinstance(answer, Failure):
        tell(f"calibration: {answer.status}: {answer.error}")
        return answer
    tell(f"calibration: {answer.seconds:.3g} s")
    return None


def describe_machine(config: AnyConfig) -> Environment:
    """Returns the environment of a benchmark of any kind: this process and this machine."""
    if isinstance(config, RunnerConfig):
        revisions: list[str | None] = [run.data_revision for run in config.runs]
    else:
        revisions = [config.data_revision]
    known = dict.fromkeys(f"sha256:{revision}" for revision in revisions if revision)
    return describe_environment(config.checkpoint, ", ".join(known) or "random tokens", restarts=0)
