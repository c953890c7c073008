"""What `run` does around the grid itself."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..errors import InputError, WorkError
from ..grid.engine import Engine
from ..grid.estimate import Estimate, Planned, estimate
from ..grid.estimate.memory import memory_lines
from ..grid.estimate.words import estimate_words
from ..grid.kinds import GridCell, Outcome, get_kind
from ..grid.kinds.base import DONE, Estimable
from ..grid.local import LocalEngine
from ..grid.placement import count_workers
from ..grid.plan import Standing
from ..grid.read import ReadExperiment
from ..grid.run import Board, run_grid
from ..grid.work import Job
from ..models.checkpoint import lacks_weights
from ..processes import threads_of
from ..report import build_report
from ..store.io import redact
from ..training.checks import choose_device


@dataclass(frozen=True)
class Crew:
    """Who does the cells."""

    engine: str  # "local" or "ray"
    workers: int
    per_gpu: int
    device: str  # "cpu" or "cuda"
    address: str | None

    @classmethod
    def choose(
        cls,
        read: ReadExperiment,
        engine: str,
        workers: int | None,
        per_gpu: int | None,
        address: str | None,
        cells: Sequence[GridCell],
    ) -> Crew:
        """As the user asked.

        Raises:
            InputError: what was asked for does not fit together, or not the machine.
        """
        if address is not None and engine != "ray":
            raise InputError("--address is of a Ray cluster: add --engine ray, or leave it out")
        asked = {str(cell.options.get("device", "auto")) for cell in cells} or {"auto"}
        devices = {choose_device(device, "fp32") for device in asked}
        device = "cuda" if "cuda" in devices else "cpu"
        alone = get_kind(read.experiment.kind).alone
        if alone and max(workers or 1, per_gpu or 1) > 1:
            raise InputError(
                f"{read.path} measures speed, which other workers would spoil: "
                "leave --workers and --per-gpu out"
            )
        on_cluster = engine == "ray" and device == "cuda"
        count = 1 if alone else (workers or 1) if on_cluster else count_workers(device, workers, per_gpu)
        return cls(engine, count, per_gpu or 1, device, address)

    def open(self, results: Path) -> Engine:
        """The engine, not started yet."""
        if self.engine == "local":
            return LocalEngine(self.workers, self.device)
        from ..grid.ray import HERE, RayEngine

        return RayEngine(self.workers, self.device, self.per_gpu, self.address or HERE, results)


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
    stand: Sequence[Standing],
    due: Collection[GridCell],
    crew: Crew,
    results: Path,
    keep_model: bool,
    as_json: bool,
) -> None:
    """Prints the cells and how they stand, what is to be done, and what that takes."""
    kind = get_kind(read.experiment.kind)
    planned = [kind.planned(cell) for cell in due] if isinstance(kind, Estimable) else None
    estimated = None if planned is None else _estimate(planned, crew, results, keep_model)
    if as_json:
        cells = [cell_document(standing) for standing in stand]
        told = estimated.model_dump(mode="json") if estimated else None
        print(json.dumps({"cells": cells, "estimate": told}, indent=2))
        return
    experiment = read.experiment
    print(f"{experiment.title} ({read.path})")
    rows: dict[str, list[str]] = {}
    for standing in stand:
        cell = standing.cell
        name = " ".join(word for word in (cell.model, cell.task, cell.method, cell.variant) if word)
        told = standing.status if cell.seed is None else f"{cell.seed} {standing.status}"
        rows.setdefault(name, []).append(told)
    width = max(map(len, rows))
    for name, told in rows.items():
        print(f"  {name.ljust(width)}  {', '.join(told)}")
    counts = Counter(standing.status for standing in stand)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{len(stand)} cells: {told}; {len(due)} to be done now, {crew.workers} at a time on {crew.device}")
    for model in dict.fromkeys(standing.cell.model for standing in stand):
        if lacks_weights(model):
            print(f"no weights are there of {model}: planned from its shapes alone")
    if planned and estimated:
        print(f"estimate: {estimate_words(estimated)}")
        print("\n".join(["", *memory_lines(estimated, [run.config for run in planned])]))


def _estimate(planned: Sequence[Planned], crew: Crew, results: Path, keep_model: bool) -> Estimate:
    past = [results] if results.is_dir() else []
    threads = threads_of(crew.workers) if crew.device == "cpu" else None
    return estimate(planned, past, crew.workers, threads, keep_model)


def do_all(
    cells: Sequence[GridCell], crew: Crew, results: Path, board: Board, **how: float | bool
) -> Mapping[str, Outcome]:
    """Does the cells.

    Args:
        how: as `Job` takes it.

    Raises:
        WorkError, InputError: no cell can be done any more.
    """
    if not cells:
        return {}
    command = (Path(sys.argv[0]).name, *map(redact, sys.argv[1:]))

    def make_job(cell: GridCell, give_up: str | None) -> Job:
        return Job(cell=cell, results=str(results), command=command, give_up=give_up, **how)

    return run_grid(cells, crew.open(results), make_job, results, board)


def show(stand: Sequence[Standing], outcomes: Mapping[str, Outcome], results: Path, as_json: bool) -> None:
    """Prints the tables of the cells, or all as JSON."""
    folders = [get_kind(s.cell.kind).folder(s.cell, results) for s in stand if s.status == DONE]
    report = build_report(folders) if folders else None
    if as_json:
        cells = [cell_document(standing, outcomes.get(standing.cell.id)) for standing in stand]
        print(json.dumps({"cells": cells, "report": report.to_json() if report else None}, indent=2))
    elif report is not None and (report.tables or report.left_out or report.benches or report.sweeps):
        report.print(Console())
    else:
        print(f"{len(folders)} of {len(stand)} cells done; sparsegrad report --compare paper shows them")


def cell_document(standing: Standing, outcome: Outcome | None = None) -> dict[str, object]:
    """A cell as `--json` shows it."""
    cell = standing.cell
    known = {name: getattr(cell, name) for name in ("id", "model", "task", "method", "variant", "seed")}
    ended = {} if outcome is None else outcome.model_dump(exclude={"status"})
    return {**known, "kind": cell.kind, "status": standing.status, **ended}


def check_all_done(stand: Sequence[Standing], outcomes: Mapping[str, Outcome]) -> None:
    """Refuses an end at which cells came to no score.

    Raises:
        WorkError: says which and why.
    """
    failed = [standing for standing in stand if standing.status != DONE]
    if not failed:
        return
    told = []
    for standing in failed:
        outcome = outcomes.get(standing.cell.id)
        error = f" ({outcome.error})" if outcome and outcome.error else ""
        told.append(f"{standing.cell} {standing.status}{error}")
    raise WorkError(
        f"{len(failed)} of {len(stand)} cells came to no score: {'; '.join(told)}; "
        "--retry failed does them again"
    )
