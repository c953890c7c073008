"""What the starting model scores, where that says something: a language model speaks before it is trained."""

from __future__ import annotations

import json

from transformers import Trainer

from ..store.atomic import write_text
from .cell import Cell

START = "start.json"  # in the run's folder, so that a run that is taken up again need not ask twice
BEFORE = "_before"  # after the metrics' names


def score_start(trainer: Trainer, cell: Cell) -> dict[str, float]:
    """Metrics of the model before its first step on the reported splits; none of a classifier's new head."""
    objective = cell.inputs.objective
    if not objective.scores_start:
        return {}
    path = cell.folder.path / START
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, float] = {}
    cell.watch.phase("score", len(cell.inputs.reported))
    for done, split in enumerate(cell.inputs.reported, 1):
        metrics, _ = objective.score_split(trainer, split.name, split.suffix, split.rows, split.indices)
        found |= {f"{name}{BEFORE}": value for name, value in metrics.items()}
        cell.watch.step(done)
    write_text(path, json.dumps(found, indent=2) + "\n")
    return found
