"""What `run` does around the grid itself."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..errors import InputError, WorkError
from ..estimate import Estimate, estimate, estimate_lines
from ..grid.cells import DONE, GridCell, Outcome
from ..grid.experiment import ReadExperiment
from ..grid.kinds import get_kind
from ..hardware import count_workers, threads_of
from ..models.checkpoint import lacks_weights
from ..progress import ProgressState
from ..report import build_report
from ..store.records import format_score
from ..training.checks import choose_device
from ..workers import Pool, WorkerPool
from .progress import Display, Line, format_seconds


@dataclass(frozen=True)
class PoolOptions:
    """Which workers do the cells."""

    engine: str  # "local" or "ray"
    workers: int
    per_gpu: int
    device: str  # "cpu" or "cuda"
    address: str | None

    def open(self, results: Path) -> Pool:
        """Returns the pool, not started yet."""
        if self.engine == "local":
            return WorkerPool(self.workers, self.device)
        if self.address is None:
            # the cluster listens on all interfaces, and whoever reaches it without a token may run code; Ray
            # reads these when it is imported
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        from ..grid.ray import HERE, RayPool

        return RayPool(self.workers, self.device, self.per_gpu, self.address or HERE, results)


def choose_pool(
    read: ReadExperiment,
    engine: str,
    workers: int | None,
    per_gpu: int | None,
    address: str | None,
    cells: Sequence[GridCell],
) -> PoolOptions:
    """Returns the workers that the user asked for.

    Raises:
        InputError: the options do not fit together, or not the machine.
    """
    if address is not None and engine != "ray":
        raise InputError("--address is of a Ray cluster: add --engine ray, or leave it out")
    asked = {cell.device for cell in cells} or {"auto"}
    devices = {choose_device(device, "fp32") for device in asked}
    device = "cuda" if "cuda" in devices else "cpu"
    alone = get_kind(read.experiment.kind).alone
    if alone and max(workers or 1, per_gpu or 1) > 1:
        raise InputError(
            f"{read.path} measures speed, which other workers would spoil: leave --workers and --per-gpu out"
        )
    on_cluster = engine == "ray" and device == "cuda"
    count = 1 if alone else (workers or 1) if on_cluster else count_workers(device, workers, per_gpu)
    return PoolOptions(engine, count, per_gpu or 1, device, address)


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
        self._display.end(line, format_outcome(outcome), is_failed=outcome.status != "done")


def format_outcome(outcome: Outcome) -> str:
    """Returns how a cell ended, in words."""
    error = f" ({outcome.error})" if outcome.error else ""
    if outcome.status != "done":
        return f"{outcome.status}{error}"
    score = "done"
    if outcome.score_name is not None and outcome.score is not None:
        score = f"{outcome.score_name} {format_score(outcome.score_name, outcome.score)}"
    took = "" if outcome.seconds is None else f", {format_seconds(outcome.seconds)}"
    return f"{score}{took}{error}"


def check_flags(read: ReadExperiment, flags: Mapping[str, bool]) -> None:
    """Refuses what only runs can be told, where the cells are something else.

    Raises:
        InputError: names the option.
    """
    for flag, is_set in flags.items():
        if is_set and read.experiment.kind != "finetune":
            raise InputError(f"{flag}: {read.path} trains nothing that it could be for: leave it out")


def show_plan(
    read: ReadExperiment,
    cells: Sequence[GridCell],
    statuses: Mapping[str, str],
    due: Collection[GridCell],
    options: PoolOptions,
    results: Path,
    keep_model: bool,
    as_json: bool,
) -> None:
    """Print the cells and their status, what is to be done, and what that takes."""
    estimated = _estimate(read, due, options, results, keep_model)
    if as_json:
        document = {
            "cells": [cell_document(cell, statuses[cell.id]) for cell in cells],
            "estimate": estimated.model_dump(mode="json") if estimated else None,
        }
        print(json.dumps(document, indent=2))
        return
    experiment = read.experiment
    print(f"{experiment.title} ({read.path})")
    rows: dict[str, list[str]] = {}
    for cell in cells:
        name = " ".join(word for word in (cell.model, cell.task, cell.method, cell.variant) if word)
        status = statuses[cell.id]
        rows.setdefault(name, []).append(status if cell.seed is None else f"{cell.seed} {status}")
    width = max(map(len, rows))
    for name, row in rows.items():
        print(f"  {name.ljust(width)}  {', '.join(row)}")
    counts = Counter(statuses[cell.id] for cell in cells)
    counted = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    at_a_time = f"{options.workers} at a time on {options.device}"
    print(f"{len(cells)} cells: {counted}; {len(due)} to be done now, {at_a_time}")
    for model in dict.fromkeys(cell.model for cell in cells):
        if lacks_weights(model):
            print(f"no weights are there of {model}: planned from its shapes alone")
    if estimated:
        print("\n".join(estimate_lines(estimated)))


def _estimate(
    read: ReadExperiment, due: Collection[GridCell], options: PoolOptions, results: Path, keep_model: bool
) -> Estimate | None:
    """Returns what the cells will take; None where the kind of experiment has no estimate."""
    kind = get_kind(read.experiment.kind)
    if not kind.can_estimate:
        return None
    threads = threads_of(options.workers) if options.device == "cpu" else None
    return estimate(map(kind.planned, due), [results], options.workers, threads, keep_model)


def show(
    cells: Sequence[GridCell],
    statuses: Mapping[str, str],
    outcomes: Mapping[str, Outcome],
    results: Path,
    as_json: bool,
) -> None:
    """Print the tables of the cells, or all as JSON."""
    done = [cell for cell in cells if statuses[cell.id] == DONE]
    folders = [get_kind(cell.kind).folder(cell, results) for cell in done]
    report = build_report(folders) if folders else None
    if as_json:
        rows = [cell_document(cell, statuses[cell.id], outcomes.get(cell.id)) for cell in cells]
        print(json.dumps({"cells": rows, "report": report.to_json() if report else None}, indent=2))
    elif report is not None:
        report.print_brief(Console(), results)
    else:
        print(f"{len(folders)} of {len(cells)} cells done; sparsegrad report --compare paper shows them")


def cell_document(cell: GridCell, status: str, outcome: Outcome | None = None) -> dict[str, object]:
    """Returns a cell as `--json` shows it."""
    known = {name: getattr(cell, name) for name in ("id", "model", "task", "method", "variant", "seed")}
    ended = {} if outcome is None else outcome.model_dump(exclude={"status"})
    return {**known, "kind": cell.kind, "status": status, **ended}


def check_all_done(
    cells: Sequence[GridCell], statuses: Mapping[str, str], outcomes: Mapping[str, Outcome]
) -> None:
    """Raise WorkError if cells ended without a score; it says which and why."""
    failed = [cell for cell in cells if statuses[cell.id] != DONE]
    if not failed:
        return
    said = []
    for cell in failed:
        outcome = outcomes.get(cell.id)
        error = f" ({outcome.error})" if outcome and outcome.error else ""
        said.append(f"{cell} {statuses[cell.id]}{error}")
    raise WorkError(
        f"{len(failed)} of {len(cells)} cells came to no score: {'; '.join(said)}; "
        "--retry failed does them again"
    )
