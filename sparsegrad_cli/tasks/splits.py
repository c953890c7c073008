"""Dev in two halves, for the held-out protocol: one selects the checkpoint, the other is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InputError
from .load import TaskData, digest
from .task import ChatTask
from .threads import draw_trees

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


HOLDOUT = "holdout"  # the name of the split that is made
SHARE = 0.1  # of train, at most; no more rows (or trees) than the dev split that selects has
HOLDOUT_SEED = 0  # the same rows for every study


def hold_out(data: TaskData) -> TaskData:
    """The same task with a random part of its train split as its only dev split.

    Its main metric keeps its name (`accuracy_m` for MNLI). Conversations are held out by whole trees.

    Raises:
        InputError: all conversations for training are of one tree.
    """
    task = data.task
    train, dev = data.splits[task.train], data.splits[task.dev[0]]
    if isinstance(task, ChatTask):
        trees = set(train["tree"])
        if len(trees) == 1:
            raise InputError(
                f"--select-on holdout: {data.origin}: of one tree to train on none can be held out"
            )
        size = _size(len(trees), len(set(dev["tree"])))
        drawn = draw_trees(trees, size)
        held = [place for place, tree in enumerate(train["tree"]) if tree in drawn]
    else:
        size = _size(len(train), len(dev))
        held = sorted(np.random.default_rng(HOLDOUT_SEED).permutation(len(train))[:size].tolist())
    kept = np.delete(np.arange(len(train)), held)
    splits = {task.train: train.select(kept.tolist()), HOLDOUT: train.select(held)}
    held_out = task.model_copy(update={"dev": (HOLDOUT,), "suffixes": task.suffixes[:1]})
    what = "trees" if isinstance(task, ChatTask) else "rows"
    origin = f"{data.origin}, {size} {what} held out of train"
    return replace(data, task=held_out, splits=splits, origin=origin, sha256=digest(held_out, splits))


def _size(train: int, dev: int) -> int:
    return max(1, min(int(SHARE * train), dev))
