"""The basis of a run: the user's, one found on disk, or a new one by calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, set_seed

from ..config import SETTINGS, RunConfig
from ..core import Basis, calibrate, mean_squares
from ..methods import get_method
from ..methods.base import Calibrated, MethodConfig, chosen_blocks, target_linears
from ..models.checkpoint import Checkpoint
from ..models.load import float32_products
from ..progress import Progress
from ..settings import hash_of, identity
from ..store.basis_file import load_basis, save_basis
from .inputs import Inputs

BASES = "bases"  # a folder in the results folder
PROBE_STEPS = 4  # batches, unseen by the basis, on which concentration and energies are measured


def basis_path(config: RunConfig, inputs: Inputs, results: Path) -> Path:
    """Where the basis for this configuration is kept."""
    digest = basis_digest(config, inputs.checkpoint, inputs.data.sha256)
    return results / BASES / f"{digest}.safetensors"


def basis_digest(config: RunConfig, checkpoint: Checkpoint, data: str) -> str:
    """The hash of all that decides the basis; `data` is the data's own."""
    decides = {"task", "seed", *(name for name, each in SETTINGS.items() if each.makes_basis)}
    key = {name: value for name, value in identity(config).items() if name in decides}
    if config.precision == "bf16-weights":
        key["precision"] = config.precision
    if _measures(config) != "basis":
        key["measures"] = _measures(config)
    if _measures(config) == "gradients":
        key["target"] = config.target
    key |= {
        "probe_steps": PROBE_STEPS,
        "checkpoint": checkpoint.identity,
        "data": data,
        "device": config.device,
    }
    return hash_of(key)


def _measures(config: RunConfig) -> Calibrated | None:
    return get_method(config.method).calibration(MethodConfig.of(config))


def find_or_calibrate(
    model: PreTrainedModel, config: RunConfig, inputs: Inputs, results: Path, progress: Progress
) -> Basis:
    """The basis kept for this configuration; where there is none yet, it is made and kept."""
    path = basis_path(config, inputs, results)
    if path.exists():
        return load_basis(path)
    return calibrate_and_save(model, config, inputs, path, progress)


def calibrate_and_save(
    model: PreTrainedModel, config: RunConfig, inputs: Inputs, path: Path, progress: Progress
) -> Basis:
    """Calibrates in training mode (dropout on, as in the paper), and keeps the basis at `path`.

    Where the run's method needs squared or mean gradients alone, the basis has these as its `squares` and no
    directions.
    Float32 products are in IEEE arithmetic whatever the run's precision is.
    """
    steps = config.calibration_steps
    assert steps is not None
    measures = _measures(config)
    made_from = {
        "model": config.model,
        "checkpoint": inputs.checkpoint.identity,
        "task": config.task,
        "data": inputs.data.sha256,
        "steps": str(steps),
        "batch_size": str(config.batch_size),
        "length": str(config.length),
        "seed": str(config.seed),
    }
    set_seed(config.seed)
    progress.phase("calibrate", steps + PROBE_STEPS if measures == "basis" else steps)
    was_training = model.training
    model.train()
    try:
        batches = training_batches(config, inputs, model.device, config.seed)
        blocks = chosen_blocks(model, config.blocks)
        with float32_products("ieee"):
            if measures == "gradients":
                linears = target_linears(model, config.target, blocks)
                gradients = mean_gradients(model, linears, batches, steps, progress.step)
                basis = Basis({}, squares=gradients)
            elif measures == "squares":
                basis = mean_squares(model, batches, steps, on_step=progress.step, blocks=blocks)
            else:
                basis = calibrate(
                    model,
                    batches,
                    steps,
                    PROBE_STEPS,
                    on_step=progress.step,
                    blocks=blocks,
                    basis_rank=config.basis_rank,
                )
    finally:
        model.train(was_training)
    basis = replace(basis, made_from=made_from)
    save_basis(basis, path)
    return basis


def mean_gradients(
    model: nn.Module,
    linears: Mapping[str, nn.Linear],
    batches: Iterator[dict[str, Tensor]],
    steps: int,
    on_step: Callable[[int], None],
) -> dict[str, Tensor]:
    """Returns the mean gradient of each linear's weight over `steps` batches."""
    took = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    weights = [linear.weight.requires_grad_() for linear in linears.values()]
    means = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for step, batch in enumerate(islice(batches, steps), 1):
        gradients = torch.autograd.grad(model(**batch).loss, weights)
        for mean, gradient in zip(means, gradients, strict=True):
            mean += gradient / steps
        on_step(step)
    model.requires_grad_(False)
    for p in took:
        p.requires_grad_()
    return dict(zip(linears, means, strict=True))


def training_batches(
    config: RunConfig, inputs: Inputs, device: torch.device, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Training batches without end, shuffled by `seed`."""
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        inputs.train,
        batch_size=config.batch_size // config.accumulation_steps,
        shuffle=True,
        generator=generator,
        collate_fn=inputs.collator(config),
    )
    while True:
        for batch in loader:
            yield {name: tensor.to(device) for name, tensor in batch.items()}
