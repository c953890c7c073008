"""`sparsegrad bench`: what a step of each method, a calibration, and finetune's own loop cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..bench.config import (
    BENCH_OPTIONS,
    CALIBRATION_OPTIONS,
    MEASURING,
    RUNNER_OPTIONS,
    AnyConfig,
    AnyResult,
    Bench,
    CalibrationRow,
    Row,
    bench_folder,
    write_bench,
)
from ..config import Given
from ..errors import InputError, WorkError, unknown
from . import options as opt

bench = typer.Typer(invoke_without_command=True, no_args_is_help=False)


REPEATED = {name: replace(BENCH_OPTIONS[name], type=tuple[str, ...]) for name in ("task", "lengths")}


@bench.callback()
@opt.takes_settings({**BENCH_OPTIONS, **REPEATED})
def measure(
    *,
    context: typer.Context,
    given: Given,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Trace a step of each row, and name its most expensive operations.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Measure the training step of each method side by side: speed, memory, and the use of the hardware.

    On a CPU every measurement has a process of its own, and rounds of all methods alternate. Timings are not
    repeatable: the same command measures anew and overwrites what it found before.
    """
    if context.invoked_subcommand is not None:
        return 0
    from ..bench.run import plan_bench, run_bench
    from ..report.figures.others import save_bench_plot

    _check_data_used(given)
    _quiet_libraries(quiet or as_json)
    plans = [plan_bench(of_one, shapes_only=dry_run) for of_one in _one_by_one(given)]
    if dry_run:
        configs = [config for config, _ in plans]
        documents = [config.model_dump(mode="json") for config in configs]
        names = [row.name for config in configs for row in config.rows]
        print(_joined(documents) if as_json else "\n".join(names))
        return 0
    done = []
    rows: list[Row] = []
    for config, found in plans:
        result = run_bench(config, found, output, profile, _Teller(quiet))
        done.append(_write(output, config, result))
        rows += result.rows
        if any(row.status == "done" for row in result.rows):
            save_bench_plot(done[-1], done[-1].folder / "plot.png")
    _show(done, as_json, quiet)
    _check_done("rows", rows, [row.name for row in rows])
    return 0


def _one_by_one(given: Given) -> list[Given]:
    """Returns what was given for each benchmark: one a task, one for the lengths of each task."""
    rest = {name: value for name, value in given.items() if name not in REPEATED}
    return [{**rest, name: each} for name in REPEATED for each in given.get(name, ())] or [rest]


@bench.command()
@opt.takes_settings(CALIBRATION_OPTIONS)
def calibrate(
    *,
    given: Given,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Measure our calibration against the paper's: stack every gradient, decompose both unfoldings.

    Shows time, memory, and how far the two bases agree. Like bench, it measures anew and overwrites.
    """
    from ..bench.calibration import available_bytes, check_stack_fits, plan_calibration, run_calibration

    _check_data_used(given)
    _quiet_libraries(quiet or as_json)
    config, found = plan_calibration(given)
    if dry_run:
        check_stack_fits(config, found, available_bytes(config.device))
        words = f"{config.steps} batches, {'both ways' if config.stack else 'ours'}"
        print(config.model_dump_json(indent=2) if as_json else words)
        return 0
    result = run_calibration(config, found, _Teller(quiet))
    _show([_write(output, config, result)], as_json, quiet)
    _check_done("calibrations", result.rows, [row.by for row in result.rows])
    return 0


@bench.command()
@opt.takes_settings(RUNNER_OPTIONS)
def runner(
    *,
    given: Given,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Measure finetune's training beside a plain script on transformers' Trainer and PEFT, turn by turn.

    Both train on the same batches. Like bench, it measures anew and overwrites.
    """
    from ..bench.runner import plan_runner, run_runner

    _quiet_libraries(quiet or as_json)
    config, sources = plan_runner(given)
    if dry_run:
        words = "\n".join(f"{run.task} {run.method}" for run in config.runs)
        print(config.model_dump_json(indent=2) if as_json else words)
        return 0
    result = run_runner(config, sources, _Teller(quiet))
    _show([_write(output, config, result)], as_json, quiet)
    return 0


@bench.command()
def gpu(
    *,
    device: Annotated[
        str, typer.Option(help="cuda; cpu only tries it out, on tiny models.", rich_help_panel=MEASURING)
    ] = "cuda",
    minutes: Annotated[
        float,
        typer.Option(
            min=0, help="Minutes in all: a part that may end later is not begun.", rich_help_panel=MEASURING
        ),
    ] = 7.5,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Measure all that a GPU is to answer: checks against the CPU, operations, tables, calibration.

    The most important comes first, and each result is written as it comes.
    """
    from ..bench.gpu import SCALES, run_gpu
    from ..training.checks import choose_device

    if device not in SCALES:
        raise InputError(f"--device: {unknown('device', device, SCALES)}")
    choose_device(device, None)
    _quiet_libraries(quiet or as_json)
    failed = [] if dry_run else run_gpu(device, minutes, output, _Teller(quiet))
    document = {"device": device, "minutes": minutes, "results": str(output), "failed": failed}
    print(json.dumps(document) if as_json else f"{minutes:g} minutes at most on {device}, in {output}")
    if failed:
        raise WorkError("; ".join(failed))
    return 0


class _Teller:
    """Prints lines of progress on stderr."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


def _check_data_used(given: Given) -> None:
    """Refuse --data where the batches are random tokens.

    Raises:
        InputError: it is given without --task.
    """
    if "data" in given and "task" not in given:
        raise InputError("--data: without --task the batches are random tokens: add --task, or leave it out")


def _quiet_libraries(wanted: bool) -> None:
    """Keep the libraries from printing; if `wanted`, from showing downloads too."""
    from ..training.inputs import quiet_libraries

    quiet_libraries(downloads=not wanted)


def _write(output: Path, config: AnyConfig, result: AnyResult) -> Bench:
    from ..bench.run import describe_machine

    with bench_folder(output, config).lock(timeout=60):  # another process may have measured the same
        return write_bench(output, config, result, describe_machine(config))


def _show(benches: Sequence[Bench], as_json: bool, quiet: bool) -> None:
    """Print results, as JSON or as tables."""
    from rich.console import Console

    from ..report.bench_tables import bench_sections
    from ..report.render.terminal import print_section

    if as_json:
        documents = []
        for done in benches:
            around = {"config": done.config, "environment": done.environment}
            records = {name: record.model_dump(mode="json") for name, record in around.items()}
            documents.append({**done.result.model_dump(mode="json"), **records})
        print(_joined(documents))
    else:
        for section in bench_sections(benches):
            print_section(Console(), section)
    if not quiet:
        for done in benches:
            print(f"written: {done.folder}", file=sys.stderr)


def _joined(documents: Sequence[dict[str, Any]]) -> str:
    """Returns one JSON document: of several benchmarks, their rows with the examples that these are of."""
    if len(documents) == 1:
        return json.dumps(documents[0], indent=2)
    rows = [
        {"task": each.get("config", each)["task"], "lengths": each.get("config", each)["lengths"], **row}
        for each in documents
        for row in each["rows"]
    ]
    return json.dumps({"rows": rows, "benches": documents}, indent=2)


def _check_done(what: str, rows: Sequence[Row | CalibrationRow], names: Sequence[str]) -> None:
    """Ends the command with exit code 1 if a row failed.

    Raises:
        WorkError: names them.
    """
    pairs = zip(names, rows, strict=True)
    failed = [f"{name} {row.status} ({row.error})" for name, row in pairs if row.status != "done"]
    if failed:
        raise WorkError(f"{len(failed)} of {len(rows)} {what} failed: {'; '.join(failed)}")
