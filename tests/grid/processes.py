"""The runs of commands that are killed, watched from outside."""

from __future__ import annotations

import os
from pathlib import Path

from ..processes import wait_for


def latest(results: Path) -> tuple[int, Path | None]:
    """The step of the latest checkpoint, and its run's folder."""
    found = (results / "runs").glob("*/checkpoints/checkpoint-*")
    steps = [(int(path.name.rpartition("-")[2]), path.parents[1]) for path in found]
    return max(steps, default=(0, None))


def half_way(results: Path) -> Path:
    """Waits until a run that goes on is some steps further; gives its folder."""
    before, _ = latest(results)
    wait_for(lambda: latest(results)[0] >= before + 4)
    folder = latest(results)[1]
    assert folder is not None
    return folder


def holder(folder: Path) -> int | None:
    """The process that holds a run's folder: the one that has its lock open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(folder / "lock"):
                return int(link.parts[2])
        except OSError:
            continue  # gone meanwhile, or not ours
    return None
