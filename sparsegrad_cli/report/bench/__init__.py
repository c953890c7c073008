"""A benchmark as tables: the same texts for the terminal and for Markdown."""

from __future__ import annotations

import statistics

from ...bench.folder import Bench
from ...bench.schema import BenchConfig, BenchResult, Row
from ..layout import Part
from ..numbers import DASH, amount, megabytes, speed
from ..section import Section
from .caption import caption, title
from .paper import PaperCosts, paper_costs

LEGEND = {
    "steps/s": "of the median step; range: its quartiles; tokens without padding",
    "peak": "of torch's allocator on the device in a step, in MB of 10^6 bytes; resident: of the process, "
    "above what it held before the model was built",
    "floor": "the step's operations and bytes that cannot be avoided, at this machine's peaks; × is the "
    "median step over it",
    "where": "gradients: at the end of backward; activations: saved by forward; the peak holds some of these "
    "and what is being worked on",
}


def bench_section(bench: Bench) -> Section:
    """The section of a benchmark of steps."""
    config, result = bench.config, bench.result
    assert isinstance(config, BenchConfig)
    assert isinstance(result, BenchResult)
    paper = None if config.freeze_rest else paper_costs(config.model, config.task)
    rows = result.rows
    labels = _part("method", [row.name for row in rows])
    said = {**caption(bench, paper), **LEGEND}
    return Section(
        title=title(config),
        grids=[
            [labels, *_speed_parts(rows, paper)],
            [labels, *_memory_parts(rows, paper)],
            [labels, *_split_parts(rows)],
        ],
        notes=[*_failures(rows), *_operations(rows)],
        caption=said,
    )


def _part(head: str, texts: list[str]) -> Part:
    return Part(head.split("\n"), [[text] for text in texts])


def _speed_parts(rows: tuple[Row, ...], paper: PaperCosts | None) -> list[Part]:
    parts = [
        _part("steps/s", [speed(row.steps_per_second) for row in rows]),
        _part("range", [_range(row) for row in rows]),
        _part("tokens/s", [amount(row.tokens_per_second) for row in rows]),
        *_ratio_parts(rows, paper, memory=False),
    ]
    if paper:
        marks = dict.fromkeys(paper.unsure, "?")
        found = paper.steps_per_second
        texts = [speed(found.get(row.name)) + marks.get(row.name, "") for row in rows]
        parts.append(_part("paper's\nsteps/s", texts))
    floors = [row.floor_seconds and 1e3 * row.floor_seconds for row in rows]
    over = [DASH if row.over_floor is None else f"{row.over_floor:.1f}×" for row in rows]
    return [*parts, _part("floor\nms/step", [speed(floor) for floor in floors]), _part("step /\nfloor", over)]


def _memory_parts(rows: tuple[Row, ...], paper: PaperCosts | None) -> list[Part]:
    parts = [
        _part("peak\nMB", [megabytes(row.peak_memory_bytes) for row in rows]),
        *_ratio_parts(rows, paper, memory=True),
    ]
    if paper:
        parts.append(_part("paper's\nMB", [megabytes(paper.peak_memory_bytes.get(row.name)) for row in rows]))
    resident = [megabytes(row.memory and row.memory.resident) for row in rows]
    return [*parts, _part("resident\nMB", resident)]


def _ratio_parts(rows: tuple[Row, ...], paper: PaperCosts | None, memory: bool) -> list[Part]:
    """Ours over ft and over lora, each with the paper's beside it."""
    parts = []
    for base in ("ft", "lora"):
        key = f"{'memory' if memory else 'speed'}_vs_{base}"
        ours = [getattr(row, key) for row in rows]
        if not any(ours):
            continue
        parts.append(_part(f"vs {base}", [_ratio(value) for value in ours]))
        if paper:
            theirs = [paper.ratio(row.name, base, memory) for row in rows]
            parts.append(_part("in the\npaper", [_ratio(value) for value in theirs]))
    return parts


def _split_parts(rows: tuple[Row, ...]) -> list[Part]:
    names = ("weights", "basis", "optimizer", "gradients", "activations")
    parts = [
        _part(f"{name}\nMB", [megabytes(row.memory and getattr(row.memory, name)) for row in rows])
        for name in names
    ]
    return [*parts, _part("peak in", [row.memory.peak_phase if row.memory else DASH for row in rows])]


def _range(row: Row) -> str:
    seconds = [time for of_round in row.seconds for time in of_round]
    if len(seconds) < 2:
        return DASH
    first, _, third = statistics.quantiles(seconds, method="inclusive")
    return f"{speed(1 / third)}-{speed(1 / first)}"


def _ratio(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _failures(rows: tuple[Row, ...]) -> list[str]:
    return [f"{row.name}: {row.status} ({row.error})" for row in rows if row.status != "done"]


def _operations(rows: tuple[Row, ...]) -> list[str]:
    return [
        f"{row.name} spends most on "
        + ", ".join(f"{operation.name} {100 * operation.share:.0f}%" for operation in row.operations)
        for row in rows
        if row.operations
    ]
