"""`sparsegrad finetune`: one cell of a table, all its seeds; several methods make a row of cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import RUN_SETTINGS, Given, RunConfig
from ..settings import OUTPUT
from . import options as opt

if TYPE_CHECKING:
    from ..estimate import Estimate
    from ..tasks.load import TaskData
    from ..training.resolve import Sources


@opt.takes_settings(RUN_SETTINGS)
def finetune(
    *,
    task: opt.Task,
    method: opt.Methods,
    seed: opt.Seeds = [0],  # noqa: B006
    given: Given,
    params: opt.Params = None,
    accumulate_on_oom: opt.AccumulateOnOom = False,
    output: opt.Output = Path("results"),
    checkpoint_minutes: opt.CheckpointMinutes = 10.0,
    save_model: Annotated[
        bool,
        typer.Option(help="Keep the trained model, for from_pretrained.", rich_help_panel=OUTPUT),
    ] = True,
    predict_test: opt.PredictTest = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Fine-tune a model on a task by one method or several, once a seed, and compare them.

    A run that is finished is not run again; one that was killed goes on from its last checkpoint.
    """
    from ..training.inputs import quiet_libraries
    from ..training.params import read_params
    from ..training.resolve import resolve
    from .left_out import tell_left_out
    from .train_all import check_all_done, show, train_all

    quiet_libraries(downloads=not (quiet or as_json))
    read = None if params is None else read_params(params)
    configs, sources = resolve({**given, "task": task}, method, seed, params=read, shapes_only=dry_run)
    tell_left_out(sources.data, quiet)
    test = _test_splits(configs, sources, output) if predict_test else None
    if dry_run:
        _show_plan(configs, sources, output, save_model, as_json, test)
        return 0
    results = train_all(
        [(config, sources) for config in configs],
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


def _test_splits(configs: Sequence[RunConfig], sources: Sources, output: Path) -> TaskData:
    """What --predict-test reads; refuses, before anything is trained, what could not be predicted."""
    from ..store.folder import RUNS
    from ..tasks.load import load_test
    from ..training.predict_test import check_model_kept

    test = load_test(sources.data, configs[0].data)
    for config in configs:
        check_model_kept(RUNS.folder(output, config), test)
    return test


def _estimate(configs: Sequence[RunConfig], sources: Sources, output: Path, save_model: bool) -> Estimate:
    """Returns what the runs will take that are not done."""
    from ..estimate import estimate
    from ..store.folder import RUNS

    todo = [(config, sources) for config in configs if not RUNS.folder(output, config).is_done()]
    return estimate(todo, [output], keep_model=save_model)


def _show_plan(
    configs: Sequence[RunConfig],
    sources: Sources,
    output: Path,
    save_model: bool,
    as_json: bool,
    test: TaskData | None,
) -> None:
    from ..estimate import estimate_lines
    from ..models.checkpoint import SHAPES_ONLY
    from ..store.folder import RUNS
    from ..training.predict_test import has_test_predictions

    cells = []
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
    estimated = _estimate(configs, sources, output, save_model)
    if as_json:
        document = {
            "cells": cells,
            "config": [config.model_dump() for config in configs],
            "estimate": estimated.model_dump(mode="json"),
        }
        print(json.dumps(document, indent=2))
        return
    record = sources.data.record()
    rows = ", ".join(f"{split} {count}" for split, count in record.rows.items())
    print(f"data           {record.origin} ({record.completeness}): {rows}")
    if test is not None:
        official = {split.name: split.rows for split in test.task.test}
        counts = [f"{name} {len(rows)} of {official[name]}" for name, rows in test.splits.items()]
        print(f"test data      {', '.join(counts)} rows")
    identity = sources.checkpoint.identity
    alone = " (no weights are there: shapes alone)" if identity.startswith(SHAPES_ONLY) else ""
    print(f"checkpoint     {identity}{alone}")
    methods = {config.method: config for config in configs}  # seeds differ in nothing else
    settings = {name: (c.learning_rate, c.batch_size, c.hyperparameters_from) for name, c in methods.items()}
    is_shared = len(set(settings.values())) == 1
    for method, (rate, size, source) in settings.items():
        of_method = "" if is_shared else f"   {method}"
        print(f"learning rate  {rate:g}   batch size {size}   ({source}){of_method}")
        if is_shared:
            break
    for cell in cells:
        predicted = f", test predictions {cell['test_predictions']}" if test is not None else ""
        print(
            f"{cell['id']}  {cell['task']} {cell['method']} seed {cell['seed']}  {cell['status']}{predicted}"
        )
    if estimated.runs:
        print("\n".join(estimate_lines(estimated)))
