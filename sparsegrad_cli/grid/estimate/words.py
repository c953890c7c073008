"""An estimate as one reads it."""

from __future__ import annotations

import math
from collections import Counter

from . import Estimate

MINUTE, HOUR = 60, 3600


def estimate_words(estimate: Estimate) -> str:
    """`about 2 h 10 min of work, 1 h 5 min with 2 workers; ...`: time, memory, what both are from."""
    if not estimate.runs:
        return "nothing to do"
    return "; ".join([_time(estimate), _memory(estimate), _sources(estimate)])


def duration_words(seconds: float) -> str:
    """`40 s`, `12 min`, `2 h 10 min`, `3 d 4 h`: two units at most."""
    if seconds < 2 * MINUTE:
        return f"{max(1, round(seconds))} s"
    minutes, hours = round(seconds / MINUTE), round(seconds / HOUR)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def size_words(size: int) -> str:
    """Of bytes; 1 MB is 10^6 of them."""
    if size >= 0.9995e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 0.9995e6 else f"{math.ceil(size / 1e3)} kB"


def _time(estimate: Estimate) -> str:
    unknown = f"time unknown for {estimate.runs_without_time} of {len(estimate.runs)} runs"
    if estimate.seconds is None or estimate.seconds_with_workers is None:
        reasons = Counter(run.seconds_source.removeprefix("unknown: ") for run in estimate.runs)
        return f"time unknown ({', '.join(reasons)})"
    early = estimate.may_stop_early
    at_most = f" (at most: {early} of {len(estimate.runs)} may stop early)" if early else ""
    words = f"about {duration_words(estimate.seconds)} of work{at_most}"
    if estimate.workers > 1:
        words += f", {duration_words(estimate.seconds_with_workers)} with {estimate.workers} workers"
    return f"{words}, {unknown}" if estimate.runs_without_time else words


def _memory(estimate: Estimate) -> str:
    words = f"the largest run holds about {size_words(estimate.peak_memory_bytes)} of tensors"
    if estimate.workers > 1:
        words += f", {estimate.workers} at a time {size_words(estimate.peak_memory_with_workers)}"
    disk = f"{size_words(estimate.disk_bytes)} on disk"
    return f"{words}; {disk}, and {size_words(estimate.scratch_bytes)} of checkpoints on the way"


def _sources(estimate: Estimate) -> str:
    how = Counter(run.seconds_how for run in estimate.runs)
    words = {
        "measured": "measured in runs like them",
        "scaled": "scaled from other runs",
        "arithmetic": "from arithmetic, rough",
    }
    parts = [f"{how[name]} {said}" for name, said in words.items() if how[name]]
    return f"times: {', '.join(parts)}" if parts else "no times"
