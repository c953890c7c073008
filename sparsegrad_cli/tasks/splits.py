"""Other splits than the task's own: dev in two halves, or a part of train in the place of dev.

Rows that belong together stay on one side: MNLI's hypotheses of a premise, QNLI's questions of a sentence,
QQP's pairs of a question, and the threads of one conversation tree.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import InputError
from .load import TaskData, digest
from .task import ChatTask

SELECTING = "selecting"  # the split that is made of one half of dev
HOLDOUT = "holdout"  # the split that is made of a part of train
HOLDOUT_SHARE = 0.1  # of train, at most; no more rows than the dev split that selects has
SEED = 0  # the same rows for every run and study
CONSTANT_ROWS, CONSTANT_SHARE = 10, 0.1  # a text in more rows than both, such as an instruction, ties none


def split_dev(data: TaskData) -> TaskData:
    """Returns the task with a half of each dev split; the other half of the first one is `selecting`.

    Raises:
        InputError: a half of the first dev split would be empty.
    """
    splits, first = dict(data.splits), data.task.dev[0]
    check_split_dev(data)
    for split in data.task.dev:
        rows = data.splits[split]
        drawn = draw_rows(group_rows(data, split), len(rows) // 2)
        splits[split] = rows.select(_others(len(rows), drawn))
        if split == first:
            splits[SELECTING] = rows.select(drawn)
    return replace(data, splits=splits, sha256=digest(data.task, splits))


def check_split_dev(data: TaskData) -> None:
    """Raise InputError for a dev split of which one half would be empty."""
    split = data.task.dev[0]
    if group_rows(data, split).max() == 0:
        raise InputError(
            f"--protocol heldout: {split} of {data.origin} has {_one(data)}, which has no halves"
        )


def hold_out(data: TaskData) -> TaskData:
    """Returns the task with a random part of its train split as its only dev split.

    Its main metric keeps its name (`accuracy_m` for MNLI).

    Raises:
        InputError: the train split cannot be divided.
    """
    task, groups = data.task, group_rows(data, data.task.train)
    if groups.max() == 0:
        raise InputError(
            f"--select-on holdout: {data.origin} has {_one(data)} to train on: none can be held out"
        )
    train, dev = data.splits[task.train], data.splits[task.dev[0]]
    drawn = draw_rows(groups, max(1, min(int(HOLDOUT_SHARE * len(train)), len(dev))))
    splits = {task.train: train.select(_others(len(train), drawn)), HOLDOUT: train.select(drawn)}
    held_out = task.model_copy(update={"dev": (HOLDOUT,), "suffixes": task.suffixes[:1]})
    origin = f"{data.origin}, {len(drawn)} rows held out of train"
    return replace(data, task=held_out, splits=splits, origin=origin, sha256=digest(held_out, splits))


def group_rows(data: TaskData, split: str) -> np.ndarray:
    """Returns the group of each row of a split, numbered from 0 by their first rows.

    Conversations group by tree. Texts group where rows share one, directly or by way of other rows, in
    whichever column; a text that a tenth of the rows have, such as an instruction, does not count.
    """
    rows = data.splits[split]
    if isinstance(data.task, ChatTask):
        return pd.factorize(np.asarray(rows["tree"][:], dtype=object))[0]
    texts = np.concatenate([np.asarray(rows[column][:], dtype=object) for column in data.task.text])
    text_of = pd.factorize(texts)[0]
    row_of = np.tile(np.arange(len(rows)), len(data.task.text))
    counts = np.bincount(text_of)
    ties = (counts[text_of] <= max(CONSTANT_ROWS, CONSTANT_SHARE * len(rows))) & (texts != "")
    size = len(rows) + len(counts)
    edges = (row_of[ties], len(rows) + text_of[ties])
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(size, size))
    return pd.factorize(connected_components(graph, directed=False)[1][: len(rows)])[0]


def draw_rows(groups: np.ndarray, size: int) -> np.ndarray:
    """Draw whole groups at random, by a fixed seed, that come to `size` rows or fewer.

    Args:
        groups: the group of each row, numbered from 0; at least two groups.

    Returns:
        The rows drawn, ascending: never none and never all.
    """
    sizes = np.bincount(groups)
    drawn, room = list[int](), size
    for group in np.random.default_rng(SEED).permutation(len(sizes)):
        if sizes[group] <= room:
            drawn.append(group)
            room -= sizes[group]
        if not room:
            break
    return np.flatnonzero(np.isin(groups, drawn or [int(sizes.argmin())]))


def _others(rows: int, drawn: np.ndarray) -> np.ndarray:
    return np.delete(np.arange(rows), drawn)


def _one(data: TaskData) -> str:
    return (
        "one conversation tree" if isinstance(data.task, ChatTask) else "one row, or rows that share a text"
    )
