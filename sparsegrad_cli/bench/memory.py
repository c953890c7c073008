"""Where the memory of a training step goes.

Every number is bytes of storage, shared storage counted once.

    weights      parameters and buffers of the model, without the basis
    basis        U and V, and what else of the basis the method keeps by it
    optimizer    the moments, after the steps of the burn-in
    gradients    all `.grad` at the end of backward
    activations  held at the end of forward beyond what was held before it: what is saved for backward
    peak         the most that is held at once in the step, everything above included; `peak_phase` says when

Peak and activations are the allocator's: on CUDA from its statistics, on a CPU from the allocations that the
profiler reports. The resident set is the process's own, as the system counts it, with what the allocator
keeps in hand and what a library takes past it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from ..core import Corner, Rotation
from ..training.memory import live_bytes
from .batches import Batch
from .schema import Memory
from .step import TrainingStep

MARK = "sparsegrad bench: "  # before a phase's name in the profile
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure_memory(step: TrainingStep, batch: Batch, resident: int | None = None) -> Memory:
    """Takes one step on `batch`; see the module's head for what is counted.

    Args:
        step: after steps enough that the optimizer has its moments.
        batch: the largest there is.
        resident: what the process held at most, above its start; goes into the answer as it is.
    """
    model = step.model
    basis = [b for m in model.modules() if isinstance(m, Rotation | Corner) for b in m.buffers()]
    moments = [t for s in step.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
    of_basis = storage_bytes(basis)
    weights = storage_bytes([*model.parameters(), *model.buffers()]) - of_basis
    held, peaks, gradients, before = _cuda(step, batch) if step.device == "cuda" else _cpu(step, batch)
    phase = max(peaks, key=lambda name: peaks[name])
    return Memory(
        weights=weights,
        basis=of_basis,
        optimizer=storage_bytes(moments),
        gradients=gradients,
        activations=held - before,
        peak=peaks[phase],
        peak_phase=phase,
        resident=resident,
    )


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages behind `tensors`, each once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


Measured = tuple[int, dict[str, int], int, int]  # held after forward, peak of each phase, gradients, before


def _cuda(step: TrainingStep, batch: Batch) -> Measured:
    peaks, held, gradients = {}, 0, 0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for name, act in step.phases(batch):
        torch.cuda.reset_peak_memory_stats()
        act()
        torch.cuda.synchronize()
        peaks[name] = torch.cuda.max_memory_allocated()
        if name == "forward":
            held = torch.cuda.memory_allocated()
        if name == "backward":
            gradients = _gradients(step.model)
    return held, peaks, gradients, before


def _cpu(step: TrainingStep, batch: Batch) -> Measured:
    gradients = 0
    before = live_bytes(step.model, step.optimizer, batch.values())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        for name, act in step.phases(batch):
            with record_function(MARK + name):
                act()
            if name == "backward":
                gradients = _gradients(step.model)
    held, peaks = _replay(recorded, before)
    return held, peaks, gradients, before


def _replay(recorded: profile, before: int) -> tuple[int, dict[str, int]]:
    """Bytes held at the end of forward, and the peak of each phase, from the allocations in order."""
    events = recorded.profiler.kineto_results.events()
    names = ("forward", "backward", "optimizer")
    marks = {MARK + name: name for name in names}
    ends = {marks[event.name()]: event.end_ns() for event in events if event.name() in marks}
    now = at_forward_end = before
    peaks = dict.fromkeys(names, 0)
    for event in events:
        if event.name() != "[memory]" or event.device_type() != torch.autograd.DeviceType.CPU:
            continue
        now += event.nbytes()
        phase = next((name for name in names if event.start_ns() <= ends[name]), names[-1])
        peaks[phase] = max(peaks[phase], now)
        if phase == "forward":
            at_forward_end = now
    return at_forward_end, peaks


def _gradients(model: nn.Module) -> int:
    return storage_bytes(p.grad for p in model.parameters() if p.grad is not None)


def resident_bytes(peak: bool = False) -> int | None:
    """The resident set of this process, now or at its peak; None where the system does not tell."""
    try:
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def forget_resident_peak() -> bool:
    """Lets the peak begin again from now; whether the system does that."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True
