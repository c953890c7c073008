"""`sparsegrad bench`: what a training step of each method costs; `bench calibrate`: what its basis costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import SETTINGS, Given, check_given
from ..errors import WorkError
from ..settings import METHOD, WHAT
from . import bench_common as common
from . import options as opt
from .bench_runner import runner

bench = typer.Typer(invoke_without_command=True, no_args_is_help=False)
bench.command()(runner)

MEASURING = "Measuring"


MEASURED = {  # settings of what is measured
    name: SETTINGS[name]
    for name in (
        *("model", "data", "device", "batch_size", "length", "pad_to_max", "precision", "freeze_rest"),
        *("density", "kept", "rank"),
    )
}


@bench.callback()
@opt.takes_settings(MEASURED)
def measure(
    *,
    context: typer.Context,
    init: common.InitOption = "pretrained",
    layers: common.Layers = None,
    task: common.MaybeTask = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Repeatable. Default: all.", show_default=False, rich_help_panel=WHAT),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            help="sparsegrad: only this place (optimizer, backward, adapter), or the paper's own layer "
            "(regular, sparse-by-dense); repeatable.",
            show_default=False,
            rich_help_panel=METHOD,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="sparsegrad: only dynamic (all places), fixed or block; repeatable.",
            show_default=False,
            rich_help_panel=METHOD,
        ),
    ] = None,
    seed: common.Seed = 0,
    given: Given,
    basis_rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="sparsegrad: leading directions of the basis a side; adds the adapter. Default: all.",
            show_default=False,
            rich_help_panel=METHOD,
        ),
    ] = None,
    calibration_steps: Annotated[
        int,
        typer.Option(min=1, help="sparsegrad: batches that make the basis.", rich_help_panel=METHOD),
    ] = 4,
    rounds: Annotated[
        int, typer.Option(min=1, help="Times that every row is measured.", rich_help_panel=MEASURING)
    ] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Timed steps of a row in a round.", rich_help_panel=MEASURING)
    ] = 5,
    burn_in: Annotated[
        int | None,
        typer.Option(min=1, help="Steps before them. Default: 2, on CUDA 10.", rich_help_panel=MEASURING),
    ] = None,
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
    """Measure the training step of each method side by side: speed, memory, and how far both could go.

    Every measurement has a process of its own, and rounds of all methods alternate. Timings are not
    repeatable: the same command measures anew and overwrites what it found before.
    """
    if context.invoked_subcommand is not None:
        return 0
    from ..bench.plan import Choices, plan
    from ..bench.run import run_bench
    from ..report.figures.others import save_bench_plot

    choices = Choices(
        **{"model": "demo", **check_given(given, SETTINGS)},
        init=init,
        layers=layers,
        task=task,
        seed=seed,
        methods=method or (),
        places=place or (),
        masks=mask or (),
        basis_rank=basis_rank,
        calibration_steps=calibration_steps,
        rounds=rounds,
        steps=steps,
        burn_in=burn_in,
    )
    common.quiet(quiet or as_json)
    config, found = plan(choices, from_shapes=dry_run)
    if dry_run:
        print(config.model_dump_json(indent=2) if as_json else "\n".join(row.name for row in config.rows))
        return 0
    result = run_bench(config, found, output, profile, common.teller(quiet))
    done = common.keep(output, config, result)
    if any(row.status == "done" for row in result.rows):
        save_bench_plot(done, done.folder / "plot.png")
    common.show(done, as_json, quiet)
    failed = [f"{row.name} {row.status} ({row.error})" for row in result.rows if row.status != "done"]
    if failed:
        raise WorkError(f"{len(failed)} of {len(result.rows)} rows failed: {'; '.join(failed)}")
    return 0


@bench.command()
@opt.takes_settings(
    {name: MEASURED[name] for name in ("model", "data", "device", "batch_size", "length", "pad_to_max")}
)
def calibrate(
    *,
    init: common.InitOption = "pretrained",
    layers: common.Layers = None,
    task: common.MaybeTask = None,
    seed: common.Seed = 0,
    given: Given,
    calibration_steps: Annotated[
        int, typer.Option(min=1, help="Batches that make the basis.", rich_help_panel=METHOD)
    ] = 30,
    basis_rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Ours: find so many leading directions a side. Default: all.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    stack: Annotated[
        bool,
        typer.Option(
            "--stack/--no-stack",
            help="Measure the paper's way too; without, only its size is told.",
            rich_help_panel=METHOD,
        ),
    ] = True,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Measure our calibration against the paper's: stack every gradient, decompose both unfoldings.

    Shows time, memory, and how far the two bases agree. Like bench, it measures anew and overwrites.
    """
    from ..bench.calibration import available_bytes, check_stack_fits, run_calibration
    from ..bench.plan import SubjectChoices, plan_calibration

    choices = SubjectChoices(
        **{"model": "demo", **check_given(given, SETTINGS)}, init=init, layers=layers, task=task, seed=seed
    )
    common.quiet(quiet or as_json)
    config, found = plan_calibration(choices, calibration_steps, basis_rank, stack)
    if dry_run:
        check_stack_fits(config, found, available_bytes(config.device))
        print(
            config.model_dump_json(indent=2)
            if as_json
            else f"{config.steps} batches, {'both ways' if stack else 'ours'}"
        )
        return 0
    result = run_calibration(config, found, common.teller(quiet))
    common.show(common.keep(output, config, result), as_json, quiet)
    failed = [f"{row.by} {row.status} ({row.error})" for row in result.rows if row.status != "done"]
    if failed:
        raise WorkError(f"{len(failed)} of {len(result.rows)} calibrations failed: {'; '.join(failed)}")
    return 0
