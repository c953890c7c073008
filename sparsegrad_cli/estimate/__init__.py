"""What planned runs will take: memory from a simulated step, time from past runs, disk from counts.

`estimate` answers for `finetune --dry-run` and `run --dry-run`; `estimate_lines` is the answer in words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..config import RunConfig
from ..settings import Record
from ..store.environment import hardware
from ..training.objectives import Objective
from ..training.resolve import Sources
from .memory import MemoryEstimate, simulate_step
from .time import PastSpeeds, Workloads, seconds_of, step_settings

CHECKPOINTS = 3  # of a run while it trains: the best, the last, and the next while it is written
ROW_BYTES = 64  # of the predictions, an example


class RunEstimate(Record):
    """Of one run, from its start to its end."""

    id: str
    kind: str  # the method, and the settings that tell it from other kinds of step among the runs
    steps: int  # optimizer steps, at most
    may_stop_early: bool  # then steps and seconds are the most that it takes
    seconds: float | None  # calibration, training, evaluations; None: unknown
    past_runs: int  # whose speeds it is from
    needs: str | None  # the kind of run that makes the time known once one has finished; None: it is known
    memory: MemoryEstimate  # of the largest run of the kind
    disk_bytes: int  # that stay
    checkpoint_bytes: int  # while it trains


class Estimate(Record):
    """Of all runs; bytes are those of tensors."""

    runs: tuple[RunEstimate, ...]
    workers: int
    seconds: float | None  # of work, of the runs whose time is known; None: of none
    seconds_with_workers: float | None  # the same, shared among the workers
    peak_memory_bytes: int  # of the largest run
    peak_memory_with_workers: int  # of the largest runs that may go on at once
    disk_bytes: int
    checkpoint_bytes: int  # of the runs that may go on at once


def estimate(
    planned: Iterable[tuple[RunConfig, Sources]],
    results: Sequence[Path],
    workers: int = 1,
    threads: int | None = None,
    keep_model: bool = False,
) -> Estimate:
    """Returns what the runs will take.

    Args:
        planned: each run with what it starts from; read one after the other, so that data may go.
        results: results folders whose finished runs tell how fast things go.
        workers: runs at a time.
        threads: of each worker on a CPU; None: as many as this process has.
        keep_model: whether every trained model is kept.

    Raises:
        InputError: a tokenizer cannot be read.
    """
    here = hardware()
    speeds = PastSpeeds(results, {**here, "threads": threads or here["threads"]})
    workloads = Workloads()
    runs = []
    # kind of step -> size, run, objective, model
    largest: dict[Any, tuple[tuple[int, ...], RunConfig, Objective, PreTrainedModel]] = {}
    for config, sources in planned:
        work, objective = workloads.of(config, sources), sources.objective
        key = (*step_settings(config).items(), type(objective))
        examples = config.batch_size // config.accumulation_steps
        size = (examples * work.longest, work.longest, work.steps)
        if key not in largest or largest[key][0] < size:
            largest[key] = (size, config, objective, sources.model)
        runs.append((config, work, key))
    memory = {
        key: simulate_step(model, objective, config, longest, steps)
        for key, ((_, longest, steps), config, objective, model) in largest.items()
    }
    kinds = [config for _, config, _, _ in largest.values()]
    estimates = []
    calibrated: set[str | None] = set()
    for config, work, key in runs:
        found, held = speeds.of(config), memory[key]
        run = RunEstimate(
            id=config.run_id(),
            kind=_kind(config, kinds),
            steps=work.steps,
            may_stop_early=work.may_stop_early,
            seconds=seconds_of(work, found, calibrates=work.basis_key not in calibrated),
            past_runs=len(found),
            needs=None if found else _needs(config, here),
            memory=held,
            disk_bytes=ROW_BYTES * work.reported_rows + keep_model * held.weights,
            checkpoint_bytes=CHECKPOINTS * held.checkpoint,
        )
        estimates.append(run)
        calibrated.add(work.basis_key)
    known = [run.seconds for run in estimates if run.seconds is not None]
    peaks = [run.memory.peak for run in estimates]
    return Estimate(
        runs=tuple(estimates),
        workers=workers,
        seconds=sum(known) if known else None,
        seconds_with_workers=max(sum(known) / workers, *known) if known else None,
        peak_memory_bytes=max(peaks, default=0),
        peak_memory_with_workers=_largest(peaks, workers),
        disk_bytes=sum(run.disk_bytes for run in estimates),
        checkpoint_bytes=_largest([run.checkpoint_bytes for run in estimates], workers),
    )


def _needs(config: RunConfig, here: dict[str, str | int]) -> str:
    machine = here.get("gpu", "this GPU") if config.device == "cuda" else "this CPU"
    return f"{config.model} by {config.method} on {machine}"


def _largest(amounts: Sequence[int], count: int) -> int:
    return sum(sorted(amounts)[-count:])


def _kind(config: RunConfig, others: Sequence[RunConfig]) -> str:
    """Returns the method, the model where there are several, and settings in which runs of both differ."""
    own = step_settings(config)
    alike = [
        s for s in map(step_settings, others) if (s["model"], s["method"]) == (own["model"], own["method"])
    ]
    differing = [name for name in own if len({s[name] for s in alike}) > 1 and own[name] not in (None, False)]
    words = ", ".join(f"{name.replace('_', ' ')} {own[name]}" for name in differing)
    model = config.model if len({other.model for other in others}) > 1 else ""
    return " ".join(word for word in (model, config.method, words) if word)


def estimate_lines(found: Estimate) -> list[str]:
    """Returns the estimate for the terminal: time, disk, and a line of memory for each kind of step."""
    if not found.runs:
        return ["nothing to do"]
    at_work = f" ({found.workers} workers)" if found.workers > 1 else ""
    peak = f"{size_words(found.peak_memory_with_workers)} of tensors{at_work}"
    stays, scratch = size_words(found.disk_bytes), size_words(found.checkpoint_bytes)
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        peak += f"; {torch.cuda.get_device_name()}: {size_words(free)} of {size_words(total)} are free"
    parts = ("weights", "gradients", "moments", "activations", "peak")
    table: list[tuple[str, ...]] = [("memory", *parts)]
    for kind, memory in dict.fromkeys((run.kind, run.memory) for run in found.runs):
        table.append((kind, *(size_words(getattr(memory, part)) for part in parts)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        f"time           {_time(found)}",
        f"disk           {stays} stay, {scratch} of checkpoints while runs go on",
        f"peak           {peak}; Python, CUDA and the allocator add to it",
        *(
            "  ".join([name.ljust(max(13, widths[0])), *map(str.rjust, sizes, widths[1:])])
            for name, *sizes in table
        ),
    ]


def _time(found: Estimate) -> str:
    parts = []
    runs, early = len(found.runs), sum(run.may_stop_early for run in found.runs)
    if found.seconds is not None and found.seconds_with_workers is not None:
        words = f"about {duration_words(found.seconds)}"
        if found.workers > 1:
            words += f" of work, {duration_words(found.seconds_with_workers)} with {found.workers} workers"
        parts = [words + (f" (at most: {early} of {runs} runs may stop early)" if early else "")]
    needs = Counter(run.needs for run in found.runs if run.needs)
    if needs:
        kinds = list(needs) if len(needs) < 4 else [*list(needs)[:2], f"{len(needs) - 2} other kinds"]
        parts.append(
            f"unknown for {needs.total()} of {runs} runs, until one has finished of {', '.join(kinds)}"
        )
    return "; ".join(parts)


def duration_words(seconds: float) -> str:
    """Returns `40 s`, `12 min`, `2 h 10 min` or `3 d 4 h`."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def size_words(size: int) -> str:
    """Returns `1.3 GB`, `45 MB` or `12 kB`; 1 MB is 10^6 bytes."""
    if size >= 0.9995e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 0.9995e6 else f"{math.ceil(size / 1e3)} kB"
