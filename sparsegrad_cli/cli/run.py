"""`sparsegrad run`: a whole table, cell by cell, on the workers of an engine."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..config import Device
from ..settings import OUTPUT, WHAT
from . import options as opt

PART, MACHINE = "Part of the table", "Workers"
Engine = StrEnum("Engine", ["local", "ray"])
Retry = StrEnum("Retry", ["failed", "out-of-memory", "diverged"])


def run(
    experiment: Annotated[
        str, typer.Argument(help="A YAML, or the name of one of sparsegrad ls experiments.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="hub, a directory with GLUE in it, or demo, in place of the experiment's.",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    device: Annotated[
        Device | None,
        typer.Option(help="In place of the experiment's.", show_default=False, rich_help_panel=WHAT),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; repeatable.", show_default=False, rich_help_panel=PART),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; repeatable.", show_default=False, rich_help_panel=PART),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; repeatable.", show_default=False, rich_help_panel=PART),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="These seeds in place of the experiment's; repeatable.",
            show_default=False,
            rich_help_panel=PART,
        ),
    ] = None,
    retry: Annotated[
        list[Retry] | None,
        typer.Option(
            help="Do cells again that ended so; failed: all that came to no score. Repeatable.",
            show_default=False,
            rich_help_panel=PART,
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Processes of this machine, or a Ray cluster.", rich_help_panel=MACHINE)
    ] = Engine.local,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cells at a time. Default: one, or one a GPU (--per-gpu of them).",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    per_gpu: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cells at a time on one GPU. Default: 1; small models leave room for several.",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="ray: of the cluster; auto: the one that this machine is in. Default: one started here.",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    accumulate_on_oom: opt.AccumulateOnOom = False,
    predict_test: opt.PredictTest = False,
    save_model: Annotated[
        bool,
        typer.Option(help="Keep every trained model, for from_pretrained.", rich_help_panel=OUTPUT),
    ] = False,
    checkpoint_minutes: opt.CheckpointMinutes = 10.0,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything; show the cells, which are done, estimated time and memory.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    quiet: opt.Quiet = False,
) -> int:
    """Do every cell of an experiment that is not done yet: a whole table of the paper, or of yours.

    Kill it anywhere: the same command goes on where it was. Several at once, on one results folder, share the
    cells.
    """
    from ..config import ExecutionOptions
    from ..grid.cells import DONE
    from ..grid.experiment import find_experiment, read_experiment
    from ..grid.kinds import get_kind
    from ..grid.run import CellFilter, is_due, plan_cells, read_status, run_grid
    from ..training.inputs import quiet_libraries
    from . import run_common as common
    from .progress import Display

    quiet_libraries(downloads=not (quiet or as_json))
    read = read_experiment(find_experiment(experiment))
    common.check_flags(
        read,
        {
            "--save-model": save_model,
            "--predict-test": predict_test,
            "--accumulate-on-oom": accumulate_on_oom,
        },
    )
    part = CellFilter(tuple(model or ()), tuple(task or ()), tuple(method or ()), tuple(seed or ()))
    cells = plan_cells(read, part, data, device, from_shapes=dry_run)
    pool_options = common.choose_pool(read, engine.value, workers, per_gpu, address, cells)
    statuses = {cell.id: read_status(cell, output) for cell in cells}
    options = ExecutionOptions(
        checkpoint_seconds=60 * checkpoint_minutes,
        keep_model=save_model,
        accumulate_on_oom=accumulate_on_oom,
        predict_test=predict_test,
    )
    retried = [name.value for name in retry or ()]
    due = [
        cell
        for cell in cells
        if is_due(statuses[cell.id], retried)
        or (statuses[cell.id] == DONE and get_kind(cell.kind).lacks(cell, output, options))
    ]
    if dry_run:
        common.show_plan(read, cells, statuses, due, pool_options, output, save_model, as_json)
        return 0
    outcomes = {}
    if due:
        with Display(quiet, total=len(due), what="cells") as display:
            progress = common.CellsDisplay(display)
            outcomes = run_grid(due, statuses, pool_options.open(output), output, options, progress)
    statuses |= {id_: outcome.status for id_, outcome in outcomes.items()}
    common.show(cells, statuses, outcomes, output, as_json)
    if not as_json and not quiet:
        print(f"written: {output}", file=sys.stderr)
    common.check_all_done(cells, statuses, outcomes)
    return 0
