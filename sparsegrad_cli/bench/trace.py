"""One step under torch's profiler: a trace for the eye, and the operations that cost most."""

from __future__ import annotations

import os
from pathlib import Path

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from .batches import Batch
from .machine import synchronize
from .schema import Operation
from .step import TrainingStep

MOST_EXPENSIVE = 5

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler tells stderr that it starts and stops


def trace_step(step: TrainingStep, batch: Batch, path: Path) -> tuple[Operation, ...]:
    """Writes a Chrome trace of a step to `path` (`.json.gz`) and gives its most expensive operations.

    Their time is their own, without what they call: on CUDA the kernels' on the device.
    """
    on_cuda = step.device == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_cuda]) as recorded:
        step(batch)
        synchronize(step.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    recorded.export_chrome_trace(str(path))
    own = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    kind = DeviceType.CUDA if on_cuda else DeviceType.CPU
    events = [event for event in recorded.key_averages() if event.device_type == kind]
    total = sum(getattr(event, own) for event in events) or 1
    events.sort(key=lambda event: getattr(event, own), reverse=True)
    return tuple(
        Operation(
            name=event.key,
            seconds=getattr(event, own) / 1e6,
            share=getattr(event, own) / total,
            calls=event.count,
        )
        for event in events[:MOST_EXPENSIVE]
    )
