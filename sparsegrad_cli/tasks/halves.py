"""Dev in two halves, for the held-out protocol: one selects the checkpoint, the other is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InputError
from .chat.lot import draw_trees
from .chat.task import ChatTask
from .data import TaskData, digest

SELECTING = "selecting"  # the name of the split that is made
SEED = 0  # the same halves for every run


def halve(data: TaskData) -> TaskData:
    """The same task with a half of each dev split; the other half of the first one is the split `selecting`.

    Conversations are dealt by whole trees, so that none of them begins in both halves.
    """
    splits, first = dict(data.splits), data.task.dev[0]
    for split in data.task.dev:
        rows, drawn = data.splits[split], _draw(data, split)
        splits[split] = rows.select(np.delete(np.arange(len(rows)), drawn).tolist())
        if split == first:
            splits[SELECTING] = rows.select(drawn)
    return replace(data, splits=splits, sha256=digest(data.task, splits))


def check_halves(data: TaskData) -> None:
    """Refuses a dev split of which one half would be empty.

    Raises:
        InputError: so it is.
    """
    split = data.task.dev[0]
    if not _draw(data, split):
        what = "conversation tree" if isinstance(data.task, ChatTask) else "row"
        raise InputError(f"--protocol heldout: {split} of {data.origin} has one {what}, which has no halves")


def _draw(data: TaskData, split: str) -> list[int]:
    """The rows of the half that does not stay, in ascending order."""
    rows = data.splits[split]
    if isinstance(data.task, ChatTask):
        trees = rows["tree"][:]
        drawn = draw_trees(set(trees), len(set(trees)) // 2)
        return [place for place, tree in enumerate(trees) if tree in drawn]
    return sorted(np.random.default_rng(SEED).permutation(len(rows))[: len(rows) // 2].tolist())
