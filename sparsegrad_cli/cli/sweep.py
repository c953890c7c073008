"""`sparsegrad sweep`: Optuna over a run's hyperparameters; `sweep show`: what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt

sweep = typer.Typer(invoke_without_command=True, no_args_is_help=False)

SEARCH, MACHINE = "The search", "Machines"
DEFAULT_TRIALS = 20

Storage = Annotated[
    str | None,
    typer.Option(
        help="A database's URL (postgresql://...) or a journal file, for several machines. "
        "Default: sweeps/journal.log in the results folder.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]


@sweep.callback()
def search(
    context: typer.Context,
    model: opt.Model = "demo",
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="A GLUE task, or a YAML of yours; repeatable.",
            show_default=False,
            rich_help_panel=opt.WHAT,
        ),
    ] = None,
    all_tasks: Annotated[
        bool,
        typer.Option("--all-tasks", help="GLUE without wnli, as the paper.", rich_help_panel=opt.WHAT),
    ] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="ft, lora, meprop or sparsegrad; repeatable.",
            show_default=False,
            rich_help_panel=opt.WHAT,
        ),
    ] = None,
    all_methods: Annotated[
        bool, typer.Option("--all-methods", help="Every method.", rich_help_panel=opt.WHAT)
    ] = False,
    data: opt.Data = "hub",
    seed: Annotated[
        int, typer.Option(min=0, help="Of the sampler and of every trial's run.", rich_help_panel=opt.WHAT)
    ] = 0,
    protocol: opt.ProtocolOption = opt.Protocol.paper,
    device: opt.DeviceOption = opt.Device.auto,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Trials of each study in all, those done before included. Default: {DEFAULT_TRIALS}.",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="A YAML of what else to search, or of other ranges: `density: {low: 0.002, high: 0.05, "
            "log: true}`, `batch_size: [16, 32]`. Default: the paper's learning rates and batch sizes.",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    select_on: Annotated[
        opt.SelectOn,
        typer.Option(
            help="dev, as the paper; or holdout, a part of train that no trial trains on: dev stays unseen.",
            rich_help_panel=SEARCH,
        ),
    ] = opt.SelectOn.dev,
    pruner: Annotated[
        opt.Pruner,
        typer.Option(
            help="What ends a trial early, at an evaluation: median (worse than half of the complete ones).",
            rich_help_panel=SEARCH,
        ),
    ] = opt.Pruner.median,
    then_finetune: Annotated[
        bool,
        typer.Option(
            "--then-finetune",
            help="Train with the best of each study on three seeds.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    storage: Storage = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes here: a GPU each, or sharing the cores. Other machines: the same command.",
            rich_help_panel=MACHINE,
        ),
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with every study of the storage; needs no other option.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="A fixed one. Default: searched.", show_default=False, rich_help_panel=opt.RECIPE),
    ] = None,
    sparse_learning_rate: opt.SparseLearningRate = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="A fixed one. Default: searched.", show_default=False, rich_help_panel=opt.RECIPE
        ),
    ] = None,
    epochs: opt.Epochs = None,
    max_steps: opt.MaxSteps = None,
    max_train_examples: opt.MaxTrainExamples = None,
    patience: opt.Patience = 5,
    eval_steps: opt.EvalSteps = None,
    length: opt.Length = 128,
    pad_to_max: opt.PadToMax = False,
    precision: opt.PrecisionOption = opt.Precision.fp32,
    freeze_rest: opt.FreezeRest = False,
    density: opt.Density = None,
    kept: opt.Kept = None,
    rank: opt.Rank = None,
    support: opt.SupportOption = None,
    form: opt.FormOption = None,
    calibration_steps: opt.CalibrationSteps = None,
    basis: opt.BasisOption = None,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Search the learning rate and batch size of each method on each task: one study of trials each.

    The same command goes on with a study that was stopped, and on other machines it joins the study where
    --storage is the same: --trials is what all of them do together.
    """
    if context.invoked_subcommand is not None:
        return 0
    from rich.console import Console

    from ..sweep.plan import plan_studies
    from ..sweep.run import run_sweep
    from ..sweep.storage import open_storage, storage_errors
    from ..sweep.study import open_study
    from ..training.choices import Choices
    from ..training.libraries import quiet_libraries
    from . import sweep_common as common
    from .sweep_progress import SweepWatch

    quiet_libraries(downloads=not (quiet or as_json))
    tasks, methods = common.tasks(task, all_tasks), common.methods(method, all_methods)
    common.check_workers(storage, workers)
    if resume and not tasks and not methods:
        configs = common.stored(storage, output)
    else:
        common.check_named(tasks, methods)
        trials = trials or DEFAULT_TRIALS
        choices = Choices(
            model=model,
            task="",
            data=data,
            methods=methods,
            seeds=[seed],
            protocol=protocol.value,
            device=device.value,
            precision=precision.value,
            learning_rate=learning_rate,
            sparse_learning_rate=sparse_learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            max_steps=max_steps,
            max_train_examples=max_train_examples,
            patience=patience,
            eval_steps=eval_steps,
            length=length,
            pad_to_max=pad_to_max,
            freeze_rest=freeze_rest,
            density=density,
            kept=kept,
            support=support.value if support else None,
            form=form.value if form else None,
            calibration_steps=calibration_steps,
            basis=basis,
            rank=rank,
        )
        configs = plan_studies(choices, tasks, select_on.value, pruner.value, space)
    if dry_run:
        common.show_plan(configs, common.open_known(storage, output), trials, as_json)
        return 0
    common.fetch_models(configs)
    opened = open_storage(storage, output)
    with SweepWatch(Console(stderr=True), quiet) as watch, storage_errors():
        studies = [open_study(opened, config) for config in configs]
        sweeps = run_sweep(studies, trials, workers, storage, output, watch.show, watch.tell)
    results = common.finetune_best(sweeps, output, quiet) if then_finetune else []
    common.show(sweeps, results, output, as_json, quiet)
    common.check_done(sweeps, results)
    return 0


@sweep.command("show")
def show(
    storage: Storage = None,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """Show every study: its trials, its best values, and the best parameters beside the paper's."""
    from . import sweep_common as common

    common.show_stored(storage, output, as_json)
    return 0
