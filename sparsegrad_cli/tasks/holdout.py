"""A part of train in place of dev, so that choosing hyperparameters leaves dev unseen."""

from __future__ import annotations

import numpy as np

from .data import TaskData, digest

HOLDOUT = "holdout"  # the name of the split that is made
SHARE = 0.1  # of train, at most; no more rows than the dev split that selects has
SEED = 0  # the same rows for every study


def hold_out(data: TaskData) -> TaskData:
    """The same task with a random part of its train split as its only dev split.

    Its main metric keeps its name (`accuracy_m` for MNLI).
    """
    task = data.task
    train = data.splits[task.train]
    size = max(1, min(int(SHARE * len(train)), len(data.splits[task.dev[0]])))
    order = np.random.default_rng(SEED).permutation(len(train))
    splits = {
        task.train: train.select(sorted(order[size:].tolist())),
        HOLDOUT: train.select(sorted(order[:size].tolist())),
    }
    held_out = task.model_copy(update={"dev": (HOLDOUT,), "suffixes": task.suffixes[:1]})
    origin = f"{data.origin}, {size} rows held out of train"
    return TaskData(held_out, splits, origin, data.completeness, digest(held_out, splits))
