"""One training step of a method, as `finetune` takes it, without what Trainer puts around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .batches import Batch
from .machine import synchronize


class TrainingStep:
    """Forward, backward, optimizer; each can be called alone.

    Args:
        model: ready for training, on its device.
        optimizer: of all that takes gradients.
        device: "cpu" or "cuda".
        precision: "bf16" runs forward under autocast.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str
    ) -> None:
        self.model, self.optimizer, self.device = model, optimizer, device
        self.bf16 = precision == "bf16"

    def __call__(self, batch: Batch) -> None:
        for _, act in self.phases(batch):
            act()

    def phases(self, batch: Batch) -> list[tuple[str, Callable[[], None]]]:
        """The parts of the step on `batch`, in order, by the names of `schema.Phase`."""
        loss: list[Tensor] = []

        def forward() -> None:
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
                loss.append(self.model(**batch).loss)

        def optimize() -> None:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

        return [
            ("forward", forward),
            ("backward", lambda: loss.pop().backward()),
            ("optimizer", optimize),
        ]


def time_steps(step: TrainingStep, batches: Sequence[Batch]) -> list[float]:
    """Seconds of a step on each batch; the clock starts and stops when the device has nothing left to do.

    On CUDA the steps are told apart by events in its stream, so that the processor may run ahead as it does
    in training.
    """
    if step.device == "cuda":
        return _time_on_cuda(step, batches)
    ticks = [time.perf_counter()]
    for batch in batches:
        step(batch)
        ticks.append(time.perf_counter())
    return [end - begin for begin, end in pairwise(ticks)]


def _time_on_cuda(step: TrainingStep, batches: Sequence[Batch]) -> list[float]:
    ticks = [torch.cuda.Event(enable_timing=True) for _ in range(len(batches) + 1)]
    synchronize(step.device)
    ticks[0].record()
    for batch, tick in zip(batches, ticks[1:], strict=True):
        step(batch)
        tick.record()
    synchronize(step.device)
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairwise(ticks)]
