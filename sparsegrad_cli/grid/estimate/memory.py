"""What training holds by each method, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from ...config import RunConfig
from ...tasks import chat_task_names
from ...training.footprint import Footprint
from . import Estimate
from .past import Setting
from .words import size_words

HEAD = ("memory", "weights", "basis", "moments", "gradients", "activations", "peak", "in")
NOTE = (
    "Counted from the shapes: a step's tensors, all of them at the peak. What Python, its libraries, CUDA's",
    "context and the allocator hold besides is not in it; a calibration has a peak of its own.",
)


@dataclass(frozen=True)
class MemoryRow:
    """The largest run among those of one setting."""

    setting: Setting
    task: str
    held: Footprint
    name: str = ""  # tells it from the other rows

    @property
    def is_chat(self) -> bool:
        return self.task in chat_task_names()


def memory_rows(estimate: Estimate, configs: Sequence[RunConfig]) -> list[MemoryRow]:
    """What decides whether the runs fit: a row for each setting, of classifiers and language models apart.

    Args:
        configs: of the runs of `estimate`, at least.
    """
    by_id = {config.run_id(): config for config in configs}
    largest: dict[tuple[Setting, bool], MemoryRow] = {}
    for run in estimate.runs:
        config = by_id[run.id]
        row = MemoryRow(Setting.of(config), config.task, run.memory)
        key = (row.setting, row.is_chat)
        if key not in largest or largest[key].held.peak < row.held.peak:
            largest[key] = row
    rows = list(largest.values())
    return [replace(row, name=_name(row, rows)) for row in rows]


def memory_lines(estimate: Estimate, configs: Sequence[RunConfig]) -> list[str]:
    """One line a row, under a head; then what is left out and, on a GPU, what is free there.

    Args:
        configs: of the runs of `estimate`, at least.
    """
    rows = memory_rows(estimate, configs)
    ids = {run.id for run in estimate.runs}
    several = len({config.task for config in configs if config.run_id() in ids}) > 1
    table = [(*HEAD, *(["largest on"] if several else []))]
    table += [(*_cells(row), *([row.task] if several else [])) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numbers = len(HEAD) - 1  # columns after them are words
    lines = [
        "  ".join(
            [cells[0].ljust(max(13, widths[0]))]
            + [cell.rjust(width) for cell, width in zip(cells[1:numbers], widths[1:numbers], strict=True)]
            + [cell.ljust(width) for cell, width in zip(cells[numbers:], widths[numbers:], strict=True)]
        ).rstrip()
        for cells in table
    ]
    on_gpu = any(config.device == "cuda" for config in configs) and torch.cuda.is_available()
    return [*lines, *NOTE, *(_gpu_lines(rows) if on_gpu else [])]


def _name(row: MemoryRow, rows: Sequence[MemoryRow]) -> str:
    """The method, the model where there are several, and what tells it from others of the same two."""
    here = row.setting
    of_kind = [other.setting for other in rows if other.is_chat == row.is_chat]
    alike = [asdict(s) for s in of_kind if (s.model, s.method) == (here.model, here.method)]
    values = {name: value for name, value in asdict(here).items() if len({s[name] for s in alike}) > 1}
    words = [f"{name.replace('_', '-')} {value}" for name, value in values.items() if value is not None]
    model = [here.model] if len({other.setting.model for other in rows}) > 1 else []
    return " ".join([*model, here.method, ", ".join(words)]).rstrip()


def _cells(row: MemoryRow) -> tuple[str, ...]:
    held = row.held
    parts = (held.weights, held.basis, held.moments, held.gradients, held.activations, held.peak)
    return (row.name, *(size_words(size) if size else "-" for size in parts), held.peak_phase)


def _gpu_lines(rows: Sequence[MemoryRow]) -> Iterator[str]:
    free, total = torch.cuda.mem_get_info()
    yield f"GPU            {torch.cuda.get_device_name()}: {size_words(free)} free of {size_words(total)}"
    above = [row.name for row in rows if row.held.peak > free]
    if above:
        yield f"warning        more than is free: {', '.join(above)}"
        yield "               less take: smaller parts, --gradient-checkpointing, --precision bf16-weights"
