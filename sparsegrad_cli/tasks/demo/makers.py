"""Which maker and which words a split is made with."""

from __future__ import annotations

from .cola import cola
from .dice import Dice
from .pronouns import wnli
from .questions import qqp
from .reports import mrpc, qnli
from .reviews import sst2
from .scenes import stsb
from .stories import mnli, rte
from .words import DEV, MISMATCHED, TRAIN

MAKERS = {
    "cola": (cola, ("sentence",)),
    "sst2": (sst2, ("sentence",)),
    "mrpc": (mrpc, ("sentence1", "sentence2")),
    "stsb": (stsb, ("sentence1", "sentence2")),
    "qqp": (qqp, ("question1", "question2")),
    "mnli": (mnli, ("premise", "hypothesis")),
    "qnli": (qnli, ("question", "sentence")),
    "rte": (rte, ("sentence1", "sentence2")),
    "wnli": (wnli, ("sentence1", "sentence2")),
}
WORDS = {"train": TRAIN, "validation": DEV, "validation_matched": DEV, "validation_mismatched": MISMATCHED}


def make_rows(task: str, split: str, seed: int, count: int) -> list[dict[str, str | int | float]]:
    """`count` rows, no two with the same texts."""
    maker, columns = MAKERS[task]
    dice, words = Dice(f"{task} {split} {seed}"), WORDS[split]
    rows: dict[tuple[str, ...], int | float] = {}
    while len(rows) < count:
        texts, label = maker(dice, words)
        if len(set(texts)) == len(columns):
            rows.setdefault(texts, label)
    return [
        {"idx": idx, **dict(zip(columns, texts, strict=True)), "label": label}
        for idx, (texts, label) in enumerate(rows.items())
    ]
