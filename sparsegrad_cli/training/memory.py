"""Peak memory of a training step, as the allocator sees it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler tells stderr that it starts and stops


class CPUPeak:
    """Most bytes that torch's CPU allocator holds at once between `start` and `stop`.

    The profiler reports each allocation; what was there before is counted by `live_bytes`.
    """

    held = 0  # bytes held at `stop`

    def start(self, live: int = 0) -> None:
        """Args:
        live: bytes held already.
        """
        self._live = live
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.start()

    def stop(self) -> int:
        """The peak in bytes, `live` included."""
        self._profile.stop()
        held = peak = self._live
        profiler: Any = self._profile.profiler  # torch does not declare what an event has
        for event in profiler.kineto_results.events():
            if event.name() == "[memory]" and event.device_type() == torch.autograd.DeviceType.CPU:
                held += event.nbytes()
                peak = max(peak, held)
        self.held = held
        return peak


def live_bytes(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Iterable[Tensor] = ()) -> int:
    """Returns the bytes of the parameters, buffers, gradients, moments, bases and inputs."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    held = [*model.parameters(), *model.buffers(), *gradients, *optimizer_tensors(optimizer), *inputs]
    return storage_bytes([*held, *group_tensors(optimizer)])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Returns the tensors of the optimizer's state: for Adam, the moments; for GaLore, the subspaces too."""
    held = [value for state in optimizer.state.values() for value in state.values()]
    projectors = [value for value in held if type(value).__name__.endswith("Projector")]
    held += [value for projector in projectors for value in vars(projector).values()]
    return [value for value in held if isinstance(value, Tensor)]


def group_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Returns the tensors of the optimizer's groups besides the parameters: for a masked Adam, the basis."""
    return [t for group in optimizer.param_groups for t in group.values() if isinstance(t, Tensor)]


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of the storages behind `tensors`, each once; fake and meta tensors count too."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())
