"""Runs that take a second: a tiny model, a tiny CoLA, a watch that can pull the plug."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from sparsegrad_cli.config import ExecutionOptions, RunConfig
from sparsegrad_cli.tasks.load import demo_folder
from sparsegrad_cli.training.resolve import Sources, resolve
from sparsegrad_cli.training.trainer import PlannedRun

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


def write_conversations(folder: Path) -> Path:
    """A folder with the first half of the demo's conversations, and few to evaluate on."""
    folder.mkdir(parents=True)
    for split, trees in (("train", 60), ("validation", 8)):
        few = {f"{split}-{tree:03}" for tree in range(trees)}
        with gzip.open(demo_folder("oasst1") / f"{split}.jsonl.gz", "rt") as whole:
            kept = [line for line in whole if json.loads(line)["message_tree_id"] in few]
        with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(kept)
    return folder


class PowerCutError(BaseException):
    """What nothing catches, as nothing catches kill -9."""


class RecordingWatch:
    """Remembers what it is told; cuts the power when a phase reaches a step."""

    def __init__(self, cut_at: tuple[str, int] | None = None) -> None:
        self.cut_at = cut_at
        self.phases: list[str] = []
        self.scores: list[float] = []

    def phase(self, name: str, total: int, done: int = 0) -> None:
        self.phases.append(name)

    def step(self, done: int, loss: float | None = None) -> None:
        if self.cut_at == (self.phases[-1], done):
            raise PowerCutError

    def evaluated(self, metric: str, value: float, best: float) -> None:
        self.scores.append(value)


Asked = dict[str, Any]  # settings, `methods` and `seeds`; None: left open


def changed(asked: Asked, **changes: object) -> Asked:
    """The same with some settings in place of theirs."""
    return {**asked, **changes}


def resolved(asked: Asked, shapes_only: bool = False) -> tuple[list[RunConfig], Sources]:
    """What is asked for, resolved."""
    given = {name: value for name, value in asked.items() if name not in ("methods", "seeds")}
    return resolve(given, asked["methods"], asked.get("seeds", (0,)), shapes_only=shapes_only)


def configs_of(asked: Asked, shapes_only: bool = False) -> list[RunConfig]:
    """The configurations of what is asked for."""
    return resolved(asked, shapes_only)[0]


def plan_run(results: Path, watch: RecordingWatch, asked: Asked, **how: float | bool) -> PlannedRun:
    """The single run that is asked for."""
    (config,), sources = resolved(asked)
    return sources.plan(config, results, watch, ExecutionOptions(**how))
