"""What the third step of a training is measured to hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsegrad_cli.training.memory import CPUPeak, live_bytes


def third_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, parts: Sequence[dict[str, Tensor]], bf16: bool
) -> tuple[int, int]:
    """Bytes at its peak, and those of the moments before it; each step is taken on all `parts`."""

    def step() -> None:
        for batch in parts:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = model(**batch).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):
        step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    moments = sum(value.nbytes for value in states if isinstance(value, Tensor))
    meter = CPUPeak()
    meter.start(live_bytes(model, optimizer))
    step()
    return meter.stop(), moments
