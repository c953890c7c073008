"""A part of train in place of dev, so that choosing hyperparameters leaves dev unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InputError
from .chat.lot import draw_trees
from .chat.task import ChatTask
from .data import TaskData, digest

HOLDOUT = "holdout"  # the name of the split that is made
SHARE = 0.1  # of train, at most; no more rows (or trees) than the dev split that selects has
SEED = 0  # the same rows for every study


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
        held = sorted(np.random.default_rng(SEED).permutation(len(train))[:size].tolist())
    kept = np.delete(np.arange(len(train)), held)
    splits = {task.train: train.select(kept.tolist()), HOLDOUT: train.select(held)}
    held_out = task.model_copy(update={"dev": (HOLDOUT,), "suffixes": task.suffixes[:1]})
    what = "trees" if isinstance(task, ChatTask) else "rows"
    origin = f"{data.origin}, {size} {what} held out of train"
    return replace(data, task=held_out, splits=splits, origin=origin, sha256=digest(held_out, splits))


def _size(train: int, dev: int) -> int:
    return max(1, min(int(SHARE * train), dev))
