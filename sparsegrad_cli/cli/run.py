"""`sparsegrad run`: a whole table, cell by cell, on the workers of an engine."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import Device, RunConfig
from ..errors import InputError, WorkError
from ..progress import ProgressState
from ..settings import WHAT
from ..store.records import format_score
from . import options as opt

if TYPE_CHECKING:
    from ..estimate import Estimate
    from ..grid.experiment import ReadExperiment
    from ..grid.kinds import GridCell, Kind, Outcome
    from ..workers import Pool
    from .progress import Display, Line

PART, MACHINE = "Part of the table", "Workers"
Engine = Literal["local", "ray", "slurm"]
Retry = StrEnum("Retry", ["failed", "out-of-memory", "diverged"])  # Typer takes no list of a Literal


def _only(what: str) -> Any:
    return opt.option(help=f"Do only the cells of this {what}; repeatable. Default: all.", panel=PART)


def run(
    experiment: Annotated[
        str, typer.Argument(help="A YAML, or one of sparsegrad ls experiments.", metavar="EXPERIMENT")
    ],
    data: Annotated[
        str | None,
        opt.option(
            help="hub, a directory with GLUE in it, or demo. Default: as the experiment says.", panel=WHAT
        ),
    ] = None,
    device: Annotated[
        Device | None, opt.option(help="Where to train. Default: as the experiment says.", panel=WHAT)
    ] = None,
    model: Annotated[list[str] | None, _only("model")] = None,
    task: Annotated[list[str] | None, _only("task")] = None,
    method: Annotated[list[str] | None, _only("method")] = None,
    seed: Annotated[
        list[int] | None,
        opt.option(min=0, help="Seed of the runs; repeatable. Default: as the experiment says.", panel=PART),
    ] = None,
    where: Annotated[
        list[str] | None,
        opt.option(
            help="Do only the cells with this setting, as density=0.01; repeatable. Default: all.", panel=PART
        ),
    ] = None,
    retry: Annotated[
        list[Retry] | None,
        opt.option(
            help="Do the cells again that ended so; failed: all without a score. Repeatable. Default: none.",
            panel=PART,
        ),
    ] = None,
    engine: Annotated[
        Engine,
        opt.option(
            help="Processes of this machine, a Ray cluster, or tasks of a SLURM cluster.",
            panel=MACHINE,
            show_default=True,
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        opt.option(
            min=1, help="Cells at a time. Default: one, or one a GPU (--per-gpu of them).", panel=MACHINE
        ),
    ] = None,
    per_gpu: Annotated[
        int | None,
        opt.option(
            min=1,
            help="Cells at a time on one GPU. Default: 1; small models leave room for several.",
            panel=MACHINE,
        ),
    ] = None,
    address: Annotated[
        str | None,
        opt.option(
            help="Address of the Ray cluster; auto: the one that this machine is in. Default: one started "
            "here.",
            panel=MACHINE,
        ),
    ] = None,
    accumulate_on_oom: opt.AccumulateOnOom = False,
    predict_test: opt.PredictTest = False,
    save: opt.SaveWhat = "none",
    report_to: opt.ReportTo = None,
    checkpoint_minutes: opt.CheckpointMinutes = 10.0,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: Annotated[
        bool,
        opt.option(
            "--dry-run",
            help="Check everything; show the cells, which are done, estimated time and memory.",
        ),
    ] = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> int:
    """Do every cell of an experiment that is not done yet: a whole table of the paper, or of yours.

    It may be stopped at any time: the same command goes on where it was. Several at once, on one results
    folder, share the cells.
    """
    from ..grid.experiment import find_experiment, read_experiment
    from ..grid.kinds import DONE, KINDS
    from ..grid.run import CellFilter, is_due, plan_cells, read_status, run_grid
    from ..training.inputs import quiet_libraries
    from .finetune import print_notes
    from .progress import Display

    options = opt.execution_options(save, checkpoint_minutes, report_to, accumulate_on_oom, predict_test)
    quiet_libraries(downloads=not (quiet or as_json))
    read = read_experiment(find_experiment(experiment))
    kind = KINDS[read.experiment.kind]
    for_runs = {
        "save": save != "none",
        "report-to": bool(report_to),
        "predict-test": predict_test,
        "accumulate-on-oom": accumulate_on_oom,
    }
    for name, is_set in for_runs.items():
        if is_set and kind.name != "finetune":
            raise InputError(f"--{name}: {read.path} trains nothing that it could be for: leave it out")
    models, tasks, methods, settings = (tuple(given or ()) for given in (model, task, method, where))
    part = CellFilter(models, tasks, methods, tuple(seed or ()), settings)
    cells = plan_cells(read, part, data, device, shapes_only=dry_run)
    runs = [RunConfig.model_validate(cell.config) for cell in cells if cell.kind == "finetune"]
    print_notes(runs, any(name == "padding" for _, name, _, _ in read.experiment.given()), quiet)
    count, on = choose_workers(read, kind.alone, engine, workers, per_gpu, address, cells)
    statuses = {cell.id: read_status(cell, output) for cell in cells}
    due = []
    for cell in cells:
        status = statuses[cell.id]
        if is_due(status, retry or ()) or (status == DONE and kind.lacks(cell, output, options)):
            due.append(cell)
    if dry_run:
        estimated = _estimate(kind, due, output, count, on, save == "model")
        now = f"{len(due)} to be done now, {count} at a time on {on}"
        _show_plan(read, cells, statuses, now, estimated, as_json)
        return 0
    outcomes = {}
    if due:
        with Display(quiet, total=len(due), what="cells") as display:
            pool = open_pool(engine, count, on, per_gpu or 1, address, output)
            outcomes = run_grid(due, statuses, pool, output, options, CellsDisplay(display))
    statuses |= {id: outcome.status for id, outcome in outcomes.items()}
    _show(cells, statuses, outcomes, output, as_json, verbose)
    if not as_json and not quiet:
        print(f"written: {output}", file=sys.stderr)
    _check_all_done(cells, statuses, outcomes)
    return 0


def choose_workers(
    read: ReadExperiment,
    alone: bool,
    engine: Engine,
    workers: int | None,
    per_gpu: int | None,
    address: str | None,
    cells: Sequence[GridCell],
) -> tuple[int, Device]:
    """Returns the number of workers and their device, "cpu" or "cuda".

    Args:
        alone: whether another worker's work would spoil what a cell measures.

    Raises:
        InputError: the options do not fit together, or not the machine.
    """
    from ..hardware import count_workers
    from ..training.checks import choose_device

    if address is not None and engine != "ray":
        raise InputError("--address is of a Ray cluster: add --engine ray, or leave it out")
    devices = {choose_device(cell.device, "fp32") for cell in cells}
    device: Device = "cuda" if "cuda" in devices else "cpu"
    if alone and max(workers or 1, per_gpu or 1) > 1:
        raise InputError(
            f"{read.path} measures speed, which other workers would spoil: leave --workers and --per-gpu out"
        )
    if alone:
        return 1, device
    if engine == "slurm" and per_gpu is not None:
        raise InputError("--per-gpu: each task of SLURM has a GPU of its own: leave it out")
    if engine != "local" and device == "cuda":
        return workers or 1, device
    return count_workers(device, workers, per_gpu), device


def open_pool(
    engine: Engine, workers: int, device: Device, per_gpu: int, address: str | None, results: Path
) -> Pool:
    """Returns the pool, not started yet."""
    from ..workers import WorkerPool

    if engine == "local":
        return WorkerPool(workers, device)
    if engine == "slurm":
        from ..grid.slurm import SlurmPool

        return SlurmPool(workers, device, results)
    if address is None:
        # the cluster listens on all interfaces, and whoever reaches it without a token may run code; Ray
        # reads these when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from ..grid.ray import HERE, RayPool

    return RayPool(workers, device, per_gpu, address or HERE, results)


class CellsDisplay:
    """The `GridProgress` that draws on a display."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._lines: dict[int, Line] = {}

    def begin(self, worker: int, cell: GridCell) -> None:
        self._lines[worker] = self._display.line(str(cell))
        if self._display.is_live:
            self._lines[worker].show(ProgressState())
        else:
            self._display.say(f"{cell}: begins on worker {worker + 1}")

    def show(self, worker: int, cell: GridCell, state: ProgressState) -> None:
        self._lines[worker].show(state)

    def leave(self, worker: int, cell: GridCell, why: str) -> None:
        self._lines.pop(worker).remove()
        self._display.say(f"{cell}: {why}")

    def end(self, worker: int, cell: GridCell, outcome: Outcome) -> None:
        line = self._lines.pop(worker, None) or self._display.line(str(cell))
        text, place = format_outcome(outcome), " ".join(filter(None, [cell.model, cell.task]))
        if outcome.status == "done" and outcome.score_name is not None and outcome.score is not None:
            row = cell.row.removeprefix(place).strip()
            text += self._display.beside(place, row, outcome.score_name, outcome.score)
        self._display.end(line, text, is_failed=outcome.status != "done")


def format_outcome(outcome: Outcome) -> str:
    """Returns how a cell ended, in words."""
    from .progress import format_seconds

    said: str = outcome.status
    if said == "done" and outcome.score_name is not None and outcome.score is not None:
        said = f"{outcome.score_name} {format_score(outcome.score_name, outcome.score)}"
    if outcome.status == "done" and outcome.seconds is not None:
        said += f", {format_seconds(outcome.seconds)}"
    return said + (f" ({outcome.error})" if outcome.error else "")


def _estimate(
    kind: Kind, due: Sequence[GridCell], results: Path, workers: int, device: Device, keep_model: bool
) -> Estimate | None:
    """Returns what the cells will take; None of cells that are no runs."""
    from ..estimate import estimate
    from ..grid.kinds import Finetune
    from ..hardware import threads_of

    if not isinstance(kind, Finetune):
        return None
    threads = threads_of(workers) if device == "cpu" else None
    return estimate(map(kind.planned, due), [results], workers, threads, keep_model)


def _show_plan(
    read: ReadExperiment,
    cells: Sequence[GridCell],
    statuses: Mapping[str, str],
    now: str,
    estimated: Estimate | None,
    as_json: bool,
) -> None:
    """Print the cells and their status, what is to be done `now`, and what that takes."""
    from ..estimate import estimate_lines
    from ..models.checkpoint import lacks_weights

    if as_json:
        document = {
            "cells": [_cell_document(cell, statuses[cell.id]) for cell in cells],
            "estimate": estimated.model_dump(mode="json") if estimated else None,
        }
        print(json.dumps(document, indent=2))
        return
    print(f"{read.experiment.title} ({read.path})")
    rows: dict[str, list[str]] = {}
    for cell in cells:
        status = statuses[cell.id]
        rows.setdefault(cell.row, []).append(status if cell.seed is None else f"{cell.seed} {status}")
    width = max(map(len, rows))
    for name, row in rows.items():
        print(f"  {name.ljust(width)}  {', '.join(row)}")
    counts = Counter(statuses[cell.id] for cell in cells)
    counted = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{len(cells)} cells: {counted}; {now}")
    for model in dict.fromkeys(cell.model for cell in cells):
        if lacks_weights(model):
            print(f"no weights are there of {model}: planned from its shapes alone")
    if estimated:
        print("\n".join(estimate_lines(estimated)))


def _show(
    cells: Sequence[GridCell],
    statuses: Mapping[str, str],
    outcomes: Mapping[str, Outcome],
    results: Path,
    as_json: bool,
    verbose: bool,
) -> None:
    """Print the tables of the cells, or all as JSON."""
    from rich.console import Console

    from ..grid.kinds import KINDS
    from ..report import build_report

    folders = [KINDS[cell.kind].folder(cell, results) for cell in cells if statuses[cell.id] == "done"]
    report = build_report(folders) if folders else None
    if as_json:
        rows = [_cell_document(cell, statuses[cell.id], outcomes.get(cell.id)) for cell in cells]
        print(json.dumps({"cells": rows, "report": report.to_json() if report else None}, indent=2))
    elif report is not None:
        report.print_brief(Console(), results, verbose)
    else:
        print(f"0 of {len(cells)} cells done")


def _cell_document(cell: GridCell, status: str, outcome: Outcome | None = None) -> dict[str, object]:
    """Returns a cell as `--json` shows it."""
    ended = {} if outcome is None else outcome.model_dump(exclude={"status"})
    return {**cell.model_dump(exclude={"device", "config"}), "status": status, **ended}


def _check_all_done(
    cells: Sequence[GridCell], statuses: Mapping[str, str], outcomes: Mapping[str, Outcome]
) -> None:
    """Raise WorkError if cells ended without a score; it says which and why."""
    failed = []
    for cell in cells:
        outcome, status = outcomes.get(cell.id), statuses[cell.id]
        if status != "done":
            failed.append(f"{cell} {status}" + (f" ({outcome.error})" if outcome and outcome.error else ""))
    if failed:
        raise WorkError(
            f"{len(failed)} of {len(cells)} cells came to no score: {'; '.join(failed)}; "
            "--retry failed does them again"
        )
