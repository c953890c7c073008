"""Several runs one after the other, watched, and what they came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ..config import RunConfig
from ..errors import WorkError
from ..models.checkpoint import fetch_weights
from ..report import Report, build_report
from ..store.records import format_score
from ..store.schema import Result
from ..tasks.load import TaskData
from ..training.resolve import Sources
from ..training.run import run
from .progress import Display


def train_all(
    todo: Sequence[tuple[RunConfig, Sources]],
    output: Path,
    quiet: bool,
    **how: float | bool | TaskData | None,
) -> list[Result]:
    """Does every run; those that fail do not stop the others.

    Args:
        todo: runs, each with what it starts from.
        how: as `Cell` takes it: checkpoint_seconds, keep_model.
    """
    for checkpoint in {sources.checkpoint for _, sources in todo}:
        fetch_weights(checkpoint)
    results = []
    with Display(quiet) as display:
        for number, (config, sources) in enumerate(todo, 1):
            counted = f"[{number}/{len(todo)}] " if len(todo) > 1 else ""
            line = display.line(f"{counted}{config.task} {config.method} seed {config.seed}")
            cell = sources.cell(config, output, line, **how)
            already = cell.folder.is_done()
            result = run(cell)
            results.append(result)
            display.end(line, _line(result, already), is_failed=result.status != "done")
    return results


def report_on(results: Sequence[Result], output: Path) -> Report:
    """The tables of these runs alone."""
    return build_report([output / "runs" / result.id for result in results])


def as_document(results: Sequence[Result], report: Report) -> dict[str, object]:
    """What `--json` shows of runs."""
    return {"runs": [result.model_dump() for result in results], "summary": report.to_json()}


def show(results: Sequence[Result], output: Path, as_json: bool) -> None:
    """Prints the tables of these runs, or everything as JSON."""
    report = report_on(results, output)
    if as_json:
        print(json.dumps(as_document(results, report), indent=2))
    else:
        report.print(Console())


def check_all_done(results: Sequence[Result]) -> None:
    """Refuses runs of which some failed.

    Raises:
        WorkError: says which and why.
    """
    failed = [result for result in results if result.status != "done"]
    if failed:
        raise WorkError(
            f"{len(failed)} of {len(results)} runs failed: "
            + "; ".join(f"{r.method} seed {r.seed} {r.status} ({r.error})" for r in failed)
        )


def _line(result: Result, already: bool) -> str:
    if result.status != "done":
        return f"{result.status}: {result.error}"
    score = ""
    if result.score is not None:
        score = f"{result.score_name} {format_score(result.score_name, result.score)}"
    took = "was done already" if already else f"{result.steps} steps, {result.train_seconds:.0f} s"
    return f"{score} ({took})"
