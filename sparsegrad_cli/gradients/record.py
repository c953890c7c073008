"""Records gradients: a small training loop that measures the gradients of some of its steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from ..config import SETTINGS, Given, check_given
from ..core import FusedMLP, LayerBasis, MLPLinear, energy_in_top, find_mlp_linears
from ..errors import WorkError
from ..methods import get_method
from ..methods.base import MethodConfig
from ..progress import Progress
from ..settings import config_id, settings_of
from ..store.environment import describe_environment
from ..training.basis import find_or_calibrate, training_batches
from ..training.resolve import Sources, resolve
from ..training.run import adapt, load_model
from .schema import (
    GRADIENTS,
    GRADIENTS_SETTINGS,
    THRESHOLDS,
    Counts,
    GradientsConfig,
    GradientsResult,
    Place,
    RecordingSettings,
    write_arrays,
)

Batch = dict[str, Tensor]
Use = Callable[[MLPLinear, Tensor, Tensor], None]

CELLS = 64  # of a map, a side
POINTS = 60  # of a curve, at most
EXAMPLES = 16  # whose rows are recorded, at most


def plan(
    given: Given, method: str = "sparsegrad", seed: int = 0, shapes_only: bool = False
) -> tuple[GradientsConfig, Sources]:
    """Finds the model and the data, fills in the defaults, and checks that all fit together.

    Args:
        given: by name, the model, task and data, and settings of `GRADIENTS_SETTINGS`.
        shapes_only: see `find_sources`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    of_run = dict(given)
    asked = {name: of_run.pop(name) for name in settings_of(RecordingSettings) if name in of_run}
    recording = RecordingSettings(**check_given(asked, GRADIENTS_SETTINGS))
    calibration_steps = of_run.get("calibration_steps", SETTINGS["calibration_steps"].default)
    if "calibration_steps" not in get_method(method).settings:
        of_run.pop("calibration_steps", None)
    of_run["max_steps"] = recording.steps
    (run,), sources = resolve(of_run, [method], [seed], shapes_only=shapes_only)
    return GradientsConfig(run=run, calibration_steps=calibration_steps, every=recording.every), sources


def run_gradients(
    config: GradientsConfig, found: Sources, results: Path, progress: Progress
) -> GradientsResult:
    """Calibrate, train and record; a finished recording is not made again.

    The basis is that of a run with the same configuration. The training is plain: no evaluation, and the
    batches are in another order than the calibration's, which the basis was made from. The caller holds the
    lock of the folder.

    Raises:
        InputError: the model cannot be had.
        WorkError: the loss is no longer finite, or the folder cannot be written.
    """
    folder = GRADIENTS.folder(results, config)
    earlier = folder.result()
    if earlier is not None:
        return earlier
    run = config.run
    planned = found.plan(run, results, progress)
    loaded = load_model(run, planned.inputs)
    model: nn.Module = loaded.model
    model.to(run.device)
    # the same basis for every method
    calibrated = run.model_copy(
        update={"method": "sparsegrad", "calibration_steps": config.calibration_steps}
    )
    basis = find_or_calibrate(loaded.model, calibrated, planned.inputs, results, progress)
    recorder = Recorder(config, choose_places(find_mlp_linears(model)), basis.kinds)
    if get_method(run.method).calibration(MethodConfig.of(run)) == "basis":
        planned = replace(planned, basis=basis)
    method = adapt(planned, loaded)
    set_seed(run.seed)  # the same dropout for every method
    steps = config.recorded_steps()
    progress.phase("train", steps[-1])
    batches = training_batches(run, planned.inputs, loaded.model.device, run.seed + 1)
    optimizer = method.optimizer(run.learning_rate)
    method.model.train()
    losses = {}
    for step in range(1, steps[-1] + 1):
        batch = next(batches)
        with recorder.recording(method.model, batch, step) if step in steps else nullcontext():
            loss = method.model(**batch).loss
            loss.backward()
        if not math.isfinite(loss.item()):
            raise WorkError(f"the loss is {loss.item()} at step {step}: take a smaller learning rate")
        if step in steps:
            losses[step] = loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step(step, loss.item())
    data = f"sha256:{planned.inputs.data.sha256}"
    folder.begin(describe_environment(planned.inputs.checkpoint.identity, data, restarts=0))
    write_arrays(folder.path, recorder.arrays)
    result = GradientsResult(id=config_id(config), losses=losses, places=tuple(recorder.places))
    folder.finish(result)
    return result


class Recorder:
    """Measures the gradients of chosen linears while a step's backward makes them.

    Args:
        bases: the basis of each kind of linear.
    """

    def __init__(
        self, config: GradientsConfig, chosen: list[MLPLinear], bases: Mapping[str, LayerBasis]
    ) -> None:
        device = config.run.device
        self._chosen, self._steps = chosen, config.recorded_steps()
        self._bases = {
            kind: replace(bases[kind], U=bases[kind].U.to(device), V=bases[kind].V.to(device))
            for kind in {place.kind for place in chosen}
        }
        self.places: list[Place] = []
        self.arrays: dict[str, np.ndarray] = {}

    def recording(self, model: nn.Module, batch: Batch, step: int) -> AbstractContextManager[None]:
        """Returns a block in which the backward of step number `step` is recorded."""
        tokens = batch["attention_mask"]

        def look(place: MLPLinear, dY: Tensor, x: Tensor) -> None:
            if not bool(torch.isfinite(dY).all()):
                raise WorkError(f"the gradients are not finite at step {step}: take a smaller learning rate")
            basis = self._bases[place.kind]
            found = numbers(dY.flatten(0, -2), x.flatten(0, -2), basis)
            padding = max(0, dY.shape[:-1].numel() - int(tokens.sum()))
            self.places.append(Place(block=place.block, kind=place.kind, step=step, padding=padding, **found))
            if step in (self._steps[0], self._steps[-1]):
                drawn = pictures(dY, x, basis, batch)
                self.arrays |= {f"{step}/{place.block}/{place.kind}/{n}": a for n, a in drawn.items()}
                self.arrays[f"{step}/tokens"] = tokens[:EXAMPLES].to(torch.uint8).cpu().numpy()

        return each_output_gradient(model, self._chosen, look)


def above(sizes: Tensor) -> tuple[int, ...]:
    """Returns how many of `sizes` (>= 0) are above each of THRESHOLDS, which are shares of the largest."""
    largest = sizes.max()
    return tuple(int((sizes > threshold * largest).sum()) for threshold in THRESHOLDS)


def counts(A: Tensor) -> Counts:
    return Counts(entries=A.numel(), above=above(A.abs()))


def numbers(dY: Tensor, X: Tensor, basis: LayerBasis) -> dict[str, Any]:
    """Returns the fields of `schema.Place` of one gradient, from `dY` (rows x O) and `X` (rows x I)."""
    G = dY.T @ X  # O x I
    rotated = basis.to_basis(G)
    return {
        "shape": tuple(G.shape),
        "rows": len(dY),
        "live_rows": above(dY.norm(dim=1)),
        "output": counts(dY),
        "output_rotated": counts(dY @ basis.V),
        "weight": counts(G),
        "weight_rotated": counts(rotated),
        "energy_original": energy_in_top(G),
        "energy_rotated": energy_in_top(rotated),
    }


def pictures(dY: Tensor, x: Tensor, basis: LayerBasis, batch: Batch) -> dict[str, np.ndarray]:
    """Returns the arrays of one gradient by their names, from `dY` (... x O) and `x` (... x I)."""
    G = dY.flatten(0, -2).T @ x.flatten(0, -2)
    rotated = basis.to_basis(G)
    shares, before = energy_curve(G)
    _, after = energy_curve(rotated)
    tensors = {
        "original": energy_map(G),
        "rotated": energy_map(rotated),
        "corner": rotated[:CELLS, :CELLS].abs(),
        "curve": torch.stack([shares, before, after]),
        "rows": row_norms(dY, batch)[:EXAMPLES],
    }
    return {name: tensor.float().cpu().contiguous().numpy() for name, tensor in tensors.items()}


def row_norms(dY: Tensor, batch: Batch) -> Tensor:
    """Returns the norm of each token's row, examples x tokens; 0 for padding that nothing was computed of."""
    shape, norms = batch["input_ids"].shape, dY.norm(dim=-1).flatten()
    if "tokens" in batch:
        computed = batch["tokens"]
        if len(norms) < len(computed):  # of the first token of each row alone
            computed = computed[batch["cu_seq_lens_q"][:-1]]
        norms = norms.new_zeros(shape.numel()).index_copy(0, computed, norms)
    return norms.view(shape)


def energy_map(G: Tensor) -> Tensor:
    """Returns the root mean square of the entries in each of at most 64 x 64 cells of nearly equal size."""
    O, I = G.shape
    energy = F.adaptive_avg_pool2d(G.square()[None, None], (min(CELLS, O), min(CELLS, I)))
    return energy[0, 0].sqrt()


def energy_curve(G: Tensor) -> tuple[Tensor, Tensor]:
    """Returns shares of the entries, evenly spaced in their logarithm, and the energy in the largest."""
    energy = G.flatten().double().square().sort(descending=True).values.cumsum(0)
    sizes = torch.logspace(0, math.log10(len(energy)), POINTS, dtype=torch.float64).round().long().unique()
    shares = sizes.double() / len(energy)
    return shares.to(G.device), energy[sizes.to(G.device) - 1] / energy[-1]


def choose_places(places: list[MLPLinear]) -> list[MLPLinear]:
    """Returns the MLP linears of the first, the middle and the last block."""
    blocks = sorted({place.block for place in places})
    chosen = {blocks[0], blocks[len(blocks) // 2], blocks[-1]}
    return [place for place in places if place.block in chosen]


@contextmanager
def each_output_gradient(model: nn.Module, places: list[MLPLinear], use: Use) -> Iterator[None]:
    """Hand `dL/dY` (... x O) and the input `x` (... x I) of each place to `use`, in the backward inside.

    Args:
        model: as a method has made it ready; its layers still have the names in `places`.
        places: found in the model before that.
    """

    by_name = {place.name: place for place in places}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, FusedMLP):
            own = [by_name.get(part) for part, module in layer.parts.items() if module in layer.linears]
            hooks.append(layer.register_forward_hook(functools.partial(_hook_fused, own, use)))
        elif name in by_name and not isinstance(layer, nn.Identity):  # a fused layer before it does its work
            hooks.append(layer.register_forward_hook(functools.partial(_hook_linear, by_name[name], use)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook_linear(
    place: MLPLinear, use: Use, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    x = inputs[0].detach()
    output.register_hook(lambda gradient: use(place, gradient, x))


def _hook_fused(
    places: list[MLPLinear | None], use: Use, layer: FusedMLP, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    """Do the same for a layer that holds a linear, or a linear, an activation and a linear."""
    x = inputs[0].detach()

    def hook(dz: Tensor) -> None:
        dy = dz
        if len(layer.linears) > 1:
            with torch.enable_grad():
                y = layer.linears[0](x).detach().requires_grad_()
                a = layer.activation(y)
            if places[1] is not None:
                use(places[1], dz, a.detach())
            (dy,) = torch.autograd.grad(a, y, dz @ layer.linears[1].weight.to(dz.dtype))
        if places[0] is not None:
            use(places[0], dy, x)

    output.register_hook(hook)
