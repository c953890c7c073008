"""What training holds by each method, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from ...store.schema import RunConfig
from ...training.footprint import Footprint
from . import Estimate
from .words import size_words

HEAD = ("memory", "weights", "basis", "moments", "gradients", "activations", "peak", "in")
NOTE = (
    "Counted from the shapes: a step's tensors, all of them at the peak. What Python, its libraries, CUDA's",
    "context and the allocator hold besides is not in it; a calibration has a peak of its own.",
)


def memory_lines(estimate: Estimate, configs: Sequence[RunConfig]) -> list[str]:
    """One line a method, under a head; then what is left out and, on a GPU, what is free there.

    Args:
        configs: of the runs of `estimate`, at least.
    """
    methods = {config.run_id(): config.method for config in configs}
    held = {methods[run.id]: run.memory for run in estimate.runs}
    rows = [HEAD, *(_cells(method, footprint) for method, footprint in held.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(max(13, widths[0]))]
            + [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
            + [row[-1]]
        )
        for row in rows
    ]
    on_gpu = any(config.device == "cuda" for config in configs) and torch.cuda.is_available()
    return [*lines, *NOTE, *(_gpu_lines(held) if on_gpu else [])]


def _cells(method: str, held: Footprint) -> tuple[str, ...]:
    parts = (held.weights, held.basis, held.moments, held.gradients, held.activations, held.peak)
    return (method, *(size_words(size) if size else "-" for size in parts), held.peak_phase)


def _gpu_lines(held: Mapping[str, Footprint]) -> Iterator[str]:
    free, total = torch.cuda.mem_get_info()
    yield f"GPU            {torch.cuda.get_device_name()}: {size_words(free)} free of {size_words(total)}"
    above = [method for method, footprint in held.items() if footprint.peak > free]
    if above:
        yield f"warning        more than is free: {', '.join(above)}"
        yield "               less take: smaller parts, --gradient-checkpointing, --precision bf16-weights"
