"""`sparsegrad bench runner`: what finetune's own machinery costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import bench_common as common
from . import options as opt


def runner(
    task: Annotated[
        str, typer.Option(help="A GLUE task (see sparsegrad ls tasks).", rich_help_panel=opt.WHAT)
    ],
    model: opt.Model = "demo",
    data: opt.Data = "hub",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Repeatable. Default: ft.", rich_help_panel=opt.WHAT),
    ] = None,
    seed: common.Seed = 0,
    device: opt.DeviceOption = opt.Device.auto,
    batch_size: opt.BatchSize = None,
    length: opt.Length = None,
    precision: opt.PrecisionOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.", rich_help_panel="Measuring")] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Timed steps of a turn.", rich_help_panel="Measuring")
    ] = 20,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Measure finetune's training step against that of a bare torch loop, turn by turn.

    Like bench, it measures anew and overwrites.
    """
    from ..bench.runner import plan_runner, run_runner
    from ..models.checkpoint import fetch_weights
    from ..training.choices import Choices

    common.quiet(quiet or as_json)
    choices = Choices(
        model=model,
        task=task,
        data=data,
        methods=method or ["ft"],
        seeds=[seed],
        device=device.value,
        precision=precision.value if precision else None,
        batch_size=batch_size,
        length=length,
    )
    config, planned = plan_runner(choices, steps, rounds)
    if dry_run:
        print(config.model_dump_json(indent=2) if as_json else "\n".join(config.methods))
        return 0
    fetch_weights(planned.checkpoint)
    result = run_runner(config, planned, common.teller(quiet))
    common.show(common.keep(output, config, result), as_json, quiet)
    return 0
