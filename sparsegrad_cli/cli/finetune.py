"""`sparsegrad finetune`: runs of one method or several on a task, once a seed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import RUN_SETTINGS, ExecutionOptions, Given, RunConfig
from ..errors import WorkError
from . import options as opt

if TYPE_CHECKING:
    from ..report import Report
    from ..store.records import Result
    from ..tasks.load import TaskData
    from ..training.resolve import Sources

NAMED = 20  # rows or trees that are left out


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
    save: opt.SaveWhat = "model",
    report_to: opt.ReportTo = None,
    predict_test: opt.PredictTest = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> int:
    """Fine-tune a model on a task by one method or several, once a seed, and compare them.

    A run that is finished is not run again; one that was killed goes on from its last checkpoint.
    """
    from rich.console import Console

    from ..training.inputs import quiet_libraries
    from ..training.params import read_params
    from ..training.resolve import resolve

    options = opt.execution_options(save, checkpoint_minutes, report_to, accumulate_on_oom, predict_test)
    quiet_libraries(downloads=not (quiet or as_json))
    read = None if params is None else read_params(params)
    configs, sources = resolve({**given, "task": task}, method, seed, params=read, shapes_only=dry_run)
    print_left_out(sources.data, quiet)
    print_notes(configs, "padding" in given, quiet)
    test = _test_splits(configs, sources, output) if predict_test else None
    if dry_run:
        _show_plan(configs, sources, output, save == "model", as_json, test)
        return 0
    results = train_all([(config, sources) for config in configs], output, quiet, options)
    report = report_on(results, output)
    if as_json:
        print(json.dumps(as_document(results, report), indent=2))
    else:
        report.print_brief(Console(), output, verbose)
    check_all_done(results)
    return 0


def _test_splits(configs: Sequence[RunConfig], sources: Sources, output: Path) -> TaskData:
    """Returns what --predict-test reads; refuses, before anything is trained, what could not be predicted."""
    from ..store.folder import RUNS
    from ..training.predict_test import check_model_kept

    for config in configs:
        check_model_kept(RUNS.folder(output, config), sources.test)
    return sources.test


def train_all(
    todo: Sequence[tuple[RunConfig, Sources]], output: Path, quiet: bool, options: ExecutionOptions
) -> list[Result]:
    """Do every run, each with what it starts from; those that fail do not stop the others."""
    from ..models.checkpoint import fetch_weights
    from ..training.run import run
    from .progress import Display

    for checkpoint in {sources.checkpoint for _, sources in todo}:
        fetch_weights(checkpoint)
    results = []
    with Display(quiet) as display:
        for number, (config, sources) in enumerate(todo, 1):
            counted = f"[{number}/{len(todo)}] " if len(todo) > 1 else ""
            line = display.line(f"{counted}{config.task} {config.method} seed {config.seed}")
            planned = sources.plan(config, output, line, options)
            was_done = planned.folder.is_done()
            result = run(planned)
            results.append(result)
            text, place = _outcome(result, was_done), f"{config.model} {config.task}"
            if result.status == "done" and result.score is not None:
                text += display.beside(place, config.method, str(result.score_name), result.score)
            display.end(line, text, is_failed=result.status != "done")
    return results


def _outcome(result: Result, was_done: bool) -> str:
    from ..store.records import format_score

    if result.status != "done":
        return f"{result.status}: {result.error}"
    score = ""
    if result.score is not None:
        score = f"{result.score_name} {format_score(result.score_name, result.score)}"
    took = "was done already" if was_done else f"{result.steps} steps, {result.train_seconds:.0f} s"
    return f"{score} ({took})"


def report_on(results: Sequence[Result], output: Path) -> Report:
    """Returns the tables of these runs alone."""
    from ..report import build_report

    return build_report([output / "runs" / result.id for result in results])


def as_document(results: Sequence[Result], report: Report) -> dict[str, object]:
    """Returns what `--json` shows of runs."""
    return {"runs": [result.model_dump() for result in results], "summary": report.to_json()}


def check_all_done(results: Sequence[Result]) -> None:
    """Refuse to end well when runs failed.

    Raises:
        WorkError: says which and why.
    """
    failed = [result for result in results if result.status != "done"]
    if failed:
        raise WorkError(
            f"{len(failed)} of {len(results)} runs failed: "
            + "; ".join(f"{r.method} seed {r.seed} {r.status} ({r.error})" for r in failed)
        )


def print_left_out(data: TaskData, quiet: bool = False) -> None:
    """Name the invalid rows and malformed trees, a line each, on stderr, and count the trees not wanted."""
    if quiet:
        return
    for one in data.left_out[:NAMED]:
        print(f"left out: {one.name}: {one.reason} ({one.place})", file=sys.stderr)
    if len(data.left_out) > NAMED:
        print(f"left out: {len(data.left_out) - NAMED} more", file=sys.stderr)
    for reason, count in data.skipped.items():
        print(f"left out: {count} trees: {reason}", file=sys.stderr)


def print_notes(configs: Iterable[RunConfig], padding_is_given: bool, quiet: bool) -> None:
    """Print what a user should know of runs before they begin, a line each, on stderr."""
    from ..training.checks import notes_on

    for note in [] if quiet else notes_on(configs, padding_is_given):
        print(note, file=sys.stderr)


def _show_plan(
    configs: Sequence[RunConfig],
    sources: Sources,
    output: Path,
    keep_model: bool,
    as_json: bool,
    test: TaskData | None,
) -> None:
    """Print what is found, the status of each run, and what those to be done take."""
    from ..estimate import estimate, estimate_lines
    from ..store.folder import RUNS
    from ..training.predict_test import has_test_predictions

    cells = []
    for config in configs:
        folder = RUNS.folder(output, config)
        result = folder.result()
        status = result.status if result else "to continue" if folder.path.exists() else "to do"
        names = ("model", "task", "method", "seed")
        cells.append({"id": config.run_id(), **config.model_dump(include=set(names)), "status": status})
        if test is not None:
            cells[-1]["test_predictions"] = "done" if has_test_predictions(folder, test) else "to do"
    due = [(config, sources) for config, cell in zip(configs, cells, strict=True) if cell["status"] != "done"]
    estimated = estimate(due, [output], keep_model=keep_model)
    if as_json:
        document = {
            "cells": cells,
            "config": [config.model_dump() for config in configs],
            "estimate": estimated.model_dump(mode="json"),
        }
        print(json.dumps(document, indent=2))
        return
    print("\n".join(_found_lines(configs, sources, test)))
    for cell in cells:
        predicted = f", test predictions {cell['test_predictions']}" if test is not None else ""
        name = f"{cell['id']}  {cell['task']} {cell['method']} seed {cell['seed']}"
        print(f"{name}  {cell['status']}{predicted}")
    if estimated.runs:
        print("\n".join(estimate_lines(estimated)))


def _found_lines(configs: Sequence[RunConfig], sources: Sources, test: TaskData | None) -> list[str]:
    """Returns what the runs start from, and their learning rates and batch sizes, a line each."""
    from ..models.checkpoint import SHAPES_ONLY

    record = sources.data.record()
    rows = ", ".join(f"{split} {count}" for split, count in record.rows.items())
    lines = [f"data           {record.origin} ({record.completeness}): {rows}"]
    if test is not None:
        official = {split.name: split.rows for split in getattr(test.task, "test", ())}
        counts = [f"{name} {len(rows)} of {official[name]}" for name, rows in test.splits.items()]
        lines.append(f"test data      {', '.join(counts)} rows")
    identity = sources.checkpoint.identity
    alone = " (no weights are there: shapes alone)" if identity.startswith(SHAPES_ONLY) else ""
    lines.append(f"checkpoint     {identity}{alone}")
    methods = {
        f"{c.learning_rate:g}   batch size {c.batch_size}   ({c.hyperparameters_from})": c.method
        for c in configs
    }
    for setting, method in methods.items():
        lines.append(f"learning rate  {setting}" + (f"   {method}" if len(methods) > 1 else ""))
    return lines
