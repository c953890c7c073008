"""A comparison of `finetune` with a bare loop as a table."""

from __future__ import annotations

from ...bench.folder import Bench
from ...bench.schema import RunnerConfig, RunnerResult
from ..layout import Part
from ..numbers import speed
from ..section import Section
from .caption import code, machine, model, short_name

LEGEND = {
    "ms/step": "the median, from the end of one step to the end of the next, loading the batch included",
    "overhead": "what finetune's step takes more; loop: forward, backward, optimizer, nothing else",
}


def runner_section(bench: Bench) -> Section:
    """The section of `bench runner`."""
    config, result = bench.config, bench.result
    assert isinstance(config, RunnerConfig)
    assert isinstance(result, RunnerResult)
    rows = result.rows
    parts = [
        _part("method", [row.method for row in rows]),
        _part("finetune ms/step", [speed(1e3 * row.runner_seconds) for row in rows]),
        _part("loop ms/step", [speed(1e3 * row.bare_seconds) for row in rows]),
        _part("overhead", [f"{100 * row.overhead:+.1f}%" for row in rows]),
    ]
    told = {
        "ran on": machine(bench),
        "model": model(config),
        "batches": f"{config.batch_size} × {config.length}, {config.task}, all padded to the full length",
        "steps": f"{config.steps} of each in each of {config.rounds} turns",
        "code": code(bench.environment),
        **LEGEND,
    }
    return Section(f"{short_name(config.model)}: finetune beside a bare loop", [parts], [], told)


def _part(head: str, texts: list[str]) -> Part:
    return Part([head], [[text] for text in texts])
