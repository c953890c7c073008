"""Runs that take a second: a tiny model, a tiny CoLA, a watch that can pull the plug."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from sparsegrad_cli.store.schema import RunConfig
from sparsegrad_cli.training.choices import Choices
from sparsegrad_cli.training.plan import plan
from sparsegrad_cli.training.trainer import Cell

WORDS = ("the", "dog", "book", "letter", "company", "city", "man", "story", "reads", "likes", "writes")


def write_cola(folder: Path, train: int = 64, dev: int = 24) -> Path:
    """A folder with a task that can be learned: sentences that begin with "the" are acceptable."""
    chosen = random.Random(0)
    for split, rows in (("train", train), ("validation", dev)):
        path = folder / "cola" / f"{split}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8") as file:
            for idx in range(rows):
                label = idx % 2
                words = chosen.choices(WORDS[1:], k=chosen.randint(2, 9))
                sentence = " ".join(["the", *words] if label else [*words, "the"])
                file.write(json.dumps({"sentence": sentence, "label": label, "idx": idx}) + "\n")
    return folder


class PowerCutError(BaseException):
    """What nothing catches, as nothing catches kill -9."""


class RecordingWatch:
    """Remembers what it is told; cuts the power when a phase reaches a step."""

    def __init__(self, cut_at: tuple[str, int] | None = None) -> None:
        self.cut_at = cut_at
        self.phases: list[str] = []
        self.scores: list[float] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append(name)

    def step(self, done: int, loss: float | None = None) -> None:
        if self.cut_at == (self.phases[-1], done):
            raise PowerCutError

    def evaluated(self, metric: str, value: float, best: float) -> None:
        self.scores.append(value)


def make_cell(results: Path, watch: RecordingWatch, choices: Choices, **how: float | bool) -> Cell:
    """The single run that `choices` come to."""
    planned = plan(choices)
    (config,) = planned.configs
    assert isinstance(config, RunConfig)
    return planned.cell(config, results, watch, **how)
