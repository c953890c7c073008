"""`sparsegrad bench`: what a step of each method, a calibration, and finetune's own loop cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

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
from ..errors import InputError, WorkError
from . import options as opt

bench = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@bench.callback()
@opt.takes_settings(BENCH_OPTIONS)
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
    config, found = plan_bench(given, shapes_only=dry_run)
    if dry_run:
        print(config.model_dump_json(indent=2) if as_json else "\n".join(row.name for row in config.rows))
        return 0
    result = run_bench(config, found, output, profile, _Teller(quiet))
    done = _write(output, config, result)
    if any(row.status == "done" for row in result.rows):
        save_bench_plot(done, done.folder / "plot.png")
    _show(done, as_json, quiet)
    _check_done("rows", result.rows, [row.name for row in result.rows])
    return 0


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
    _show(_write(output, config, result), as_json, quiet)
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
    _show(_write(output, config, result), as_json, quiet)
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


def _show(done: Bench, as_json: bool, quiet: bool) -> None:
    """Print a result, as JSON or as tables."""
    from rich.console import Console

    from ..report.bench_tables import bench_section
    from ..report.render.terminal import print_section

    if as_json:
        result = done.result.model_dump(mode="json")
        around = {"config": done.config, "environment": done.environment}
        documents = {name: record.model_dump(mode="json") for name, record in around.items()}
        print(json.dumps({**result, **documents}, indent=2))
    else:
        print_section(Console(), bench_section(done))
    if not quiet:
        print(f"written: {done.folder}", file=sys.stderr)


def _check_done(what: str, rows: Sequence[Row | CalibrationRow], names: Sequence[str]) -> None:
    """Ends the command with exit code 1 if a row failed.

    Raises:
        WorkError: names them.
    """
    pairs = zip(names, rows, strict=True)
    failed = [f"{name} {row.status} ({row.error})" for name, row in pairs if row.status != "done"]
    if failed:
        raise WorkError(f"{len(failed)} of {len(rows)} {what} failed: {'; '.join(failed)}")
