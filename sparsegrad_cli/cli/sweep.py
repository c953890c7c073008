"""`sparsegrad sweep`: Optuna over a run's hyperparameters; `sweep show`: what came of it."""

from __future__ import annotations

from pathlib import Path

import typer

from ..config import RUN_SETTINGS, Given
from . import options as opt
from . import sweep_options as own

sweep = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@sweep.callback()
@opt.takes_settings(RUN_SETTINGS, helps=own.SEARCHED)
def search(
    *,
    context: typer.Context,
    task: own.Tasks = None,
    all_tasks: own.AllTasks = False,
    method: own.Methods = None,
    all_methods: own.AllMethods = False,
    seed: own.Seed = 0,
    trials: own.Trials = None,
    space: own.SpaceFile = None,
    select_on: own.SelectOnOption = "dev",
    pruner: own.PrunerOption = "median",
    then_finetune: own.ThenFinetune = False,
    storage: own.Storage = None,
    workers: own.Workers = 1,
    resume: own.Resume = False,
    given: Given,
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
    from ..training.inputs import quiet_libraries
    from . import sweep_common as common
    from .sweep_progress import SweepWatch

    quiet_libraries(downloads=not (quiet or as_json))
    tasks, methods = common.tasks(task, all_tasks), common.methods(method, all_methods)
    common.check_workers(storage, workers)
    if resume and not tasks and not methods:
        configs = common.stored(storage, output)
    else:
        common.check_named(tasks, methods)
        trials = trials or own.DEFAULT_TRIALS
        configs = plan_studies(given, tasks, methods, seed, select_on, pruner, space, shapes_only=dry_run)
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
    storage: own.Storage = None,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """Show every study: its trials, its best values, and the best parameters beside the paper's."""
    from . import sweep_common as common

    common.show_stored(storage, output, as_json)
    return 0
