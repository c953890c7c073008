"""`sparsegrad finetune`: one cell of a table, all its seeds; several methods make a row of cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import WorkError
from . import options as opt

if TYPE_CHECKING:
    from ..store.schema import Result
    from ..training.plan import Plan


def finetune(
    task: opt.Task,
    method: opt.Methods,
    model: opt.Model = "demo",
    data: opt.Data = "hub",
    seed: opt.Seeds = [0],  # noqa: B006
    protocol: opt.ProtocolOption = opt.Protocol.paper,
    device: opt.DeviceOption = opt.Device.auto,
    learning_rate: opt.LearningRate = None,
    batch_size: opt.BatchSize = None,
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
    checkpoint_minutes: Annotated[
        float,
        typer.Option(min=0, help="Age at which a checkpoint is renewed.", rich_help_panel=opt.OUTPUT),
    ] = 10.0,
    save_model: Annotated[
        bool,
        typer.Option(help="Keep the trained model, for from_pretrained.", rich_help_panel=opt.OUTPUT),
    ] = True,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Fine-tune a model on a task by one method or several, once a seed, and compare them.

    A run that is finished is not run again; one that was killed goes on from its last checkpoint.
    """
    from rich.console import Console

    from ..models.checkpoint import fetch_weights
    from ..report import build_report
    from ..training.choices import Choices
    from ..training.libraries import quiet_libraries
    from ..training.plan import plan
    from ..training.run import run
    from .progress import RunWatch

    quiet_libraries(downloads=not (quiet or as_json))
    planned = plan(
        Choices(
            model=model,
            task=task,
            data=data,
            methods=method,
            seeds=seed,
            protocol=protocol.value,
            device=device.value,
            precision=precision.value,
            learning_rate=learning_rate,
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
    )
    if dry_run:
        _show_plan(planned, output, as_json)
        return 0
    fetch_weights(planned.checkpoint)
    results: list[Result] = []
    watch = RunWatch(Console(stderr=True), quiet)
    with watch:
        for number, config in enumerate(planned.configs, 1):
            counted = f"[{number}/{len(planned.configs)}] " if len(planned.configs) > 1 else ""
            watch.begin(f"{counted}{config.task} {config.method} seed {config.seed}")
            cell = planned.cell(
                config, output, watch, checkpoint_seconds=60 * checkpoint_minutes, keep_model=save_model
            )
            already = cell.folder.is_done()
            result = run(cell)
            results.append(result)
            watch.done(_line(result, already))
    folders = [output / "runs" / result.id for result in results]
    report = build_report(folders)
    if as_json:
        runs = [result.model_dump() for result in results]
        print(json.dumps({"runs": runs, "summary": report.to_json()}, indent=2))
    else:
        report.print(Console())
    failed = [result for result in results if result.status != "done"]
    if failed:
        raise WorkError(
            f"{len(failed)} of {len(results)} runs failed: "
            + "; ".join(f"{r.method} seed {r.seed} {r.status} ({r.error})" for r in failed)
        )
    return 0


def _line(result: Result, already: bool) -> str:
    if result.status != "done":
        return f"{result.status}: {result.error}"
    score = f"{result.score_name} {100 * result.score:.1f}" if result.score is not None else ""
    took = "was done already" if already else f"{result.steps} steps, {result.train_seconds:.0f} s"
    return f"{score} ({took})"


def _show_plan(planned: Plan, output: Path, as_json: bool) -> None:
    from ..store.run_folder import RunFolder

    cells = []
    for config in planned.configs:
        folder = RunFolder(output, config)
        result = folder.result()
        killed = folder.path.exists() and result is None
        cells.append(
            {
                "id": config.run_id(),
                "model": config.model,
                "task": config.task,
                "method": config.method,
                "seed": config.seed,
                "status": result.status if result else "to continue" if killed else "to do",
            }
        )
    hyperparameters = planned.hyperparameters
    if as_json:
        print(json.dumps({"cells": cells, "config": [c.model_dump() for c in planned.configs]}, indent=2))
        return
    record = planned.data.record()
    rows = ", ".join(f"{split} {count}" for split, count in record.rows.items())
    print(f"data           {record.origin} ({record.completeness}): {rows}")
    print(f"checkpoint     {planned.checkpoint.identity}")
    print(
        f"learning rate  {hyperparameters.learning_rate:g}   batch size {hyperparameters.batch_size}", end=""
    )
    print(f"   ({hyperparameters.source})")
    for cell in cells:
        print(f"{cell['id']}  {cell['task']} {cell['method']} seed {cell['seed']}  {cell['status']}")
