"""`sparsegrad bench runner`: what finetune's own machinery costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import SETTINGS, Given
from ..settings import WHAT
from . import bench_common as common
from . import options as opt


@opt.takes_settings(
    {name: SETTINGS[name] for name in ("model", "data", "device", "batch_size", "length", "precision")}
)
def runner(
    *,
    task: Annotated[str, typer.Option(help="A GLUE task (see sparsegrad ls tasks).", rich_help_panel=WHAT)],
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Repeatable. Default: ft.", rich_help_panel=WHAT),
    ] = None,
    seed: common.Seed = 0,
    given: Given,
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

    common.quiet(quiet or as_json)
    config, configs, sources = plan_runner({**given, "task": task}, method or ["ft"], seed, steps, rounds)
    if dry_run:
        print(config.model_dump_json(indent=2) if as_json else "\n".join(config.methods))
        return 0
    fetch_weights(sources.checkpoint)
    result = run_runner(config, configs, sources, common.teller(quiet))
    common.show(common.keep(output, config, result), as_json, quiet)
    return 0
