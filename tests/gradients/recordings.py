"""Recordings that take a second: a tiny model on a tiny CoLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparsegrad_cli.gradients.record import plan, run_gradients
from sparsegrad_cli.gradients.schema import Gradients, GradientsConfig, read_gradients
from sparsegrad_cli.training.resolve import Sources

from ..checkpoints import tiny_checkpoint
from ..planned import RecordingWatch, write_cola


def plan_small(folder: Path, **how: Any) -> tuple[GradientsConfig, Sources]:
    """Plans a recording; the checkpoint and the data are made in `folder`, once."""
    model, data = folder / "model", folder / "glue"
    if not data.exists():
        tiny_checkpoint(model, "bert", layers=4)
        write_cola(data)
    given = {"model": str(model), "task": "cola", "data": str(data), "device": "cpu", "batch_size": 8}
    given |= {"length": 16, "learning_rate": 1e-3, "calibration_steps": 3, "steps": 4, "every": 2, **how}
    return plan(given, given.pop("method", "sparsegrad"), given.pop("seed", 0))


def record(folder: Path, watch: RecordingWatch | None = None, **how: object) -> Gradients:
    """Records into `folder / "results"`, and reads it back."""
    results = folder / "results"
    config, found = plan_small(folder, **how)
    run_gradients(config, found, results, watch or RecordingWatch())
    return next(shown for shown in read_gradients([results]) if shown.config == config)
