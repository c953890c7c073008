"""`sparsegrad finetune`: one cell of a table, all its seeds; several methods make a row of cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt
from .groups import filled, takes_groups
from .training_options import StepOptions, TrainingOptions

if TYPE_CHECKING:
    from ..grid.estimate import Estimate
    from ..tasks.load import TaskData
    from ..training.choices import Choices
    from ..training.plan import Plan


@takes_groups
def finetune(
    *,
    task: opt.Task,
    method: opt.Methods,
    model: opt.Model = "demo",
    data: opt.Data = "hub",
    seed: opt.Seeds = [0],  # noqa: B006
    protocol: opt.ProtocolOption = opt.Protocol.paper,
    device: opt.DeviceOption = opt.Device.auto,
    step: StepOptions,
    accumulate_on_oom: opt.AccumulateOnOom = False,
    training: TrainingOptions,
    params: opt.ParamsOption = None,
    output: opt.Output = Path("results"),
    checkpoint_minutes: opt.CheckpointMinutes = 10.0,
    save_model: Annotated[
        bool,
        typer.Option(help="Keep the trained model, for from_pretrained.", rich_help_panel=opt.OUTPUT),
    ] = True,
    predict_test: opt.PredictTest = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Fine-tune a model on a task by one method or several, once a seed, and compare them.

    A run that is finished is not run again; one that was killed goes on from its last checkpoint.
    """
    from ..training.choices import Choices
    from ..training.inputs import quiet_libraries
    from .left_out import tell_left_out
    from .train_all import check_all_done, show, train_all

    quiet_libraries(downloads=not (quiet or as_json))
    choices = Choices(
        model=model,
        task=task,
        data=data,
        methods=method,
        seeds=seed,
        protocol=protocol.value,
        device=device.value,
    )
    plans = _plans(filled(choices, step, training), params, from_shapes=dry_run)
    tell_left_out(plans[0].data, quiet)
    test = _test_splits(plans, output) if predict_test else None
    if dry_run:
        _show_plan(plans, output, save_model, as_json, test)
        return 0
    results = train_all(
        plans,
        output,
        quiet,
        checkpoint_seconds=60 * checkpoint_minutes,
        keep_model=save_model,
        accumulate_on_oom=accumulate_on_oom,
        test=test,
    )
    show(results, output, as_json)
    check_all_done(results)
    return 0


def _plans(choices: Choices, params: Path | None, from_shapes: bool) -> list[Plan]:
    """One plan, or one a method where a file gives each its own hyperparameters.

    Args:
        from_shapes: a model without weights will do.
    """
    from ..training.params import read_params
    from ..training.plan import plan

    if params is None:
        return [plan(choices, from_shapes)]
    return read_params(params).plans(choices, from_shapes=from_shapes)


def _test_splits(plans: Sequence[Plan], output: Path) -> TaskData:
    """What --predict-test reads; refuses, before anything is trained, what could not be predicted."""
    from ..store.folder import RUNS
    from ..tasks.load import load_test
    from ..training.predict_test import check_model_kept

    configs = [config for planned in plans for config in planned.configs]
    test = load_test(plans[0].data, configs[0].data)
    for config in configs:
        check_model_kept(RUNS.folder(output, config), test)
    return test


def _estimate(plans: Sequence[Plan], output: Path, save_model: bool) -> Estimate:
    """What the runs will take that are not done."""
    from ..grid.estimate import Planned, estimate
    from ..store.folder import RUNS
    from ..training.objectives import objective_of

    todo = [
        Planned.of(config, planned, model)
        for planned in plans
        for model in [objective_of(planned.data.task).skeleton(planned.checkpoint)]
        for config in planned.configs
        if not RUNS.folder(output, config).is_done()
    ]
    return estimate(todo, [output] if output.is_dir() else [], keep_model=save_model)


def _show_plan(
    plans: Sequence[Plan], output: Path, save_model: bool, as_json: bool, test: TaskData | None
) -> None:
    from ..grid.estimate.memory import memory_lines
    from ..grid.estimate.words import estimate_words
    from ..models.checkpoint import SHAPES_ONLY
    from ..store.folder import RUNS
    from ..training.predict_test import has_test_predictions

    cells = []
    configs = [config for planned in plans for config in planned.configs]
    for config in configs:
        folder = RUNS.folder(output, config)
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
        if test is not None:
            cells[-1]["test_predictions"] = "done" if has_test_predictions(folder, test) else "to do"
    estimated = _estimate(plans, output, save_model)
    if as_json:
        document = {
            "cells": cells,
            "config": [config.model_dump() for config in configs],
            "estimate": estimated.model_dump(mode="json"),
        }
        print(json.dumps(document, indent=2))
        return
    record = plans[0].data.record()
    rows = ", ".join(f"{split} {count}" for split, count in record.rows.items())
    print(f"data           {record.origin} ({record.completeness}): {rows}")
    if test is not None:
        official = {split.name: split.rows for split in test.task.test}
        counts = [f"{name} {len(rows)} of {official[name]}" for name, rows in test.splits.items()]
        print(f"test data      {', '.join(counts)} rows")
    identity = plans[0].checkpoint.identity
    alone = " (no weights are there: shapes alone)" if identity.startswith(SHAPES_ONLY) else ""
    print(f"checkpoint     {identity}{alone}")
    for planned in plans:
        found = planned.hyperparameters
        of = f"   {planned.configs[0].method}" if len(plans) > 1 else ""
        print(
            f"learning rate  {found.learning_rate:g}   batch size {found.batch_size}   ({found.source}){of}"
        )
    for cell in cells:
        predicted = f", test predictions {cell['test_predictions']}" if test is not None else ""
        print(
            f"{cell['id']}  {cell['task']} {cell['method']} seed {cell['seed']}  {cell['status']}{predicted}"
        )
    if estimated.runs:
        print(f"estimate       {estimate_words(estimated)}")
        print("\n".join(["", *memory_lines(estimated, configs)]))
