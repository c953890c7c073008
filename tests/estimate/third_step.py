"""The third step of a training as torch's allocator sees it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.core import calibrate
from sparsegrad_cli.methods import get_method
from sparsegrad_cli.methods.base import MethodConfig, chosen_blocks
from sparsegrad_cli.models.load import enable_gradient_checkpointing
from sparsegrad_cli.training.memory import CPUPeak, live_bytes, optimizer_tensors, storage_bytes
from sparsegrad_cli.training.objectives import Objective


def third_step(
    model: PreTrainedModel, objective: Objective, config: RunConfig, batch: dict[str, Tensor]
) -> tuple[int, int]:
    """Returns the bytes at the peak of the third step, and those of the moments before it.

    Args:
        model: on the CPU; it is trained in place.
        batch: a micro batch; all are alike.
    """
    half, parts = config.precision == "bf16-weights", config.accumulation_steps
    model = model.to(torch.bfloat16 if half else torch.float32).train()
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    method_class, basis = get_method(config.method), None
    method_config = MethodConfig.of(config, parts)
    if method_class.calibration(method_config) is not None:
        blocks = chosen_blocks(model, config.blocks)
        basis = calibrate(model, [batch] * 3, 2, 1, blocks=blocks, basis_rank=config.basis_rank)
    method = method_class(model, objective.head(model), method_config, basis)
    optimizer = method.optimizer(1e-4)
    del basis

    def step() -> None:
        for _ in range(parts):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.precision.startswith("bf16")):
                loss = model(**batch).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    step()
    moments = storage_bytes(optimizer_tensors(optimizer))
    meter = CPUPeak()
    meter.start(live_bytes(model, optimizer))
    step()
    return meter.stop(), moments
