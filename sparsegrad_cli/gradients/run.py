"""Records gradients: a small training loop that looks at some of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import set_seed

from ..core import MLPLinear, Rotation, find_mlp_linears
from ..errors import WorkError
from ..methods.base import Method
from ..store.environment import describe_environment
from ..training.calibration import find_or_calibrate, training_batches
from ..training.callbacks import Watch
from ..training.plan import Plan
from ..training.run import adapt, load_model
from .folder import finished, write_gradients
from .measure import EXAMPLES, numbers, pictures
from .probe import choose_places, each_output_gradient
from .schema import GradientsConfig, GradientsResult, Place

Batch = dict[str, Tensor]


def run_gradients(config: GradientsConfig, found: Plan, results: Path, watch: Watch) -> GradientsResult:
    """Calibrates, trains and records; a finished recording is not made again.

    The basis is that of a run with the same configuration. The training is plain: no evaluation, and the
    batches are in another order than the calibration's, which the basis was made from.

    Raises:
        InputError: the model cannot be had.
        WorkError: the loss is no longer finite, or the folder cannot be written.
    """
    earlier = finished(results, config)
    if earlier is not None:
        return earlier
    run = config.run
    cell = found.cell(run, results, watch)
    loaded = load_model(run, cell.inputs)
    model = loaded.model.to(run.device)
    calibrated = run.model_copy(update={"calibration_steps": config.calibration_steps})
    basis = find_or_calibrate(model, calibrated, cell.inputs, results, watch)
    places = choose_places(find_mlp_linears(model))
    kinds = {place.kind for place in places}
    rotations = {kind: Rotation(b.U, b.V).to(run.device) for kind, b in basis.kinds.items() if kind in kinds}
    method = adapt(replace(cell, basis=basis), loaded)
    set_seed(run.seed)  # the same dropout for every method
    recorder = Recorder(config, places, rotations)
    watch.phase("train", recorder.steps[-1])
    batches = training_batches(run, cell.inputs, model.device, run.seed + 1)
    losses = _train(method, run.learning_rate, batches, recorder, watch.step)
    result = GradientsResult(id=config.record_id(), losses=losses, places=tuple(recorder.places))
    environment = describe_environment(
        cell.inputs.checkpoint.identity, f"sha256:{cell.inputs.data.sha256}", restarts=0
    )
    write_gradients(results, config, result, recorder.arrays, environment)
    return result


class Recorder:
    """Measures the gradients of chosen linears while a step's backward makes them."""

    def __init__(
        self, config: GradientsConfig, places: list[MLPLinear], rotations: dict[str, Rotation]
    ) -> None:
        self.steps = config.recorded_steps()
        self.chosen = places
        self.rotations = rotations
        self.places: list[Place] = []
        self.arrays: dict[str, np.ndarray] = {}

    def backward(self, model: nn.Module, batch: Batch, step: int) -> float:
        """Forward and backward of step number `step`, looked at where that is wanted; gives the loss."""
        if step not in self.steps:
            return _backward(model, batch)
        tokens = batch["attention_mask"]

        def look(place: MLPLinear, dY: Tensor, x: Tensor) -> None:
            rotation = self.rotations[place.kind]
            found = numbers(dY.flatten(0, -2), x.flatten(0, -2), rotation)
            padding = int((tokens == 0).sum())
            self.places.append(Place(block=place.block, kind=place.kind, step=step, padding=padding, **found))
            if step in (self.steps[0], self.steps[-1]):
                drawn = pictures(dY, x, rotation)
                self.arrays |= {f"{step}/{place.block}/{place.kind}/{n}": a for n, a in drawn.items()}
                self.arrays[f"{step}/tokens"] = tokens[:EXAMPLES].to(torch.uint8).cpu().numpy()

        with each_output_gradient(model, self.chosen, look):
            return _backward(model, batch)


def _train(
    method: Method,
    learning_rate: float,
    batches: Iterator[Batch],
    recorder: Recorder,
    tell: Callable[[int, float], None],
) -> dict[int, float]:
    """Trains to the last recorded step; gives the loss of every recorded one."""
    optimizer = method.optimizer(learning_rate)
    method.model.train()
    losses = {}
    for step in range(1, recorder.steps[-1] + 1):
        loss = recorder.backward(method.model, next(batches), step)
        if not math.isfinite(loss):
            raise WorkError(f"the loss is {loss} at step {step}: take a smaller learning rate")
        if step in recorder.steps:
            losses[step] = loss
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tell(step, loss)
    return losses


def _backward(model: nn.Module, batch: Batch) -> float:
    loss = model(**batch).loss
    loss.backward()
    return loss.item()
