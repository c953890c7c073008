"""In a worker: the steps of one row, timed; in the first round also what a step holds and computes.

Memory is that of torch's allocator: CUDA's own statistics, or the profiler's record of a CPU's allocations.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.module_tracker import ModuleTracker

from ..config import SETTINGS, Mask, Place
from ..core import Basis, Subspace, find_mlp_linears
from ..methods import get_method
from ..methods.base import ROTATION_PRECISION, Method, MethodConfig, choose_trained, count_parameters
from ..methods.sparse import SparseMethod
from ..models.load import LoadedModel, float32_products
from ..models.unpadded import computed_tokens
from ..progress import Progress
from ..settings import Record
from ..store.basis_file import load_basis
from ..store.records import Parameters
from ..training.memory import CPUPeak, group_tensors, live_bytes, optimizer_tensors, storage_bytes
from .config import BenchConfig, Memory, Operation, Phase, RowSpec
from .reference import REFERENCE_FORMS, ReferenceLinear, apply_reference
from .target import BASIS, Batch, Job

PROBE_STEPS = 2  # batches beyond the calibration's, that give a mask its energies
MOST_EXPENSIVE = 5
SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product is timed
TRIES = 4
CUDA_CONTEXT = 600_000_000  # bytes that a CUDA process holds before it allocates anything

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler tells stderr that it starts and stops


class MeasureJob(Job):
    """Measure one row in one round."""

    target: BenchConfig
    row: RowSpec
    number: int  # of the round, from 0
    trace: str | None  # file to write


class Measured(Record):
    """The answer to `MeasureJob`; the costs are those of the first round."""

    seconds: tuple[float, ...]  # of each timed step
    tokens: tuple[int, ...]  # of each, padding not counted
    memory: Memory | None = None
    flops: int | None = None
    parameters: Parameters | None = None
    operations: tuple[Operation, ...] = ()


class MachineJob(Record):
    """Measure what the device reaches at most."""

    device: str
    precision: str


class Machine(Record):
    """The answer to `MachineJob`."""

    peak_flops: float  # FLOPs per second of a large matrix product
    used_by_others: int  # bytes of a CUDA device that other processes hold


def needs_basis(row: RowSpec) -> bool:
    """Returns whether a row needs the basis of a calibration."""
    return row.basis == "calibrated"


def measure(job: MeasureJob, progress: Progress) -> Measured:
    """Build the model, burn in, time the steps; in the first round measure also what a step costs."""
    config = job.target
    if config.device == "cuda":  # the process may have measured other rows
        gc.collect()
        torch.cuda.empty_cache()
    with float32_products(config.precision):
        return _measure(job)


def _measure(job: MeasureJob) -> Measured:
    config = job.target
    first = config.calibration_steps + PROBE_STEPS + job.number * (config.burn_in + config.steps)
    batches = job.batches(first, config.burn_in + config.steps, job.row.padding)
    timed = batches[config.burn_in :]
    loaded = job.model(job.row.padding)
    total = sum(p.numel() for p in loaded.model.parameters())
    method = build_method(config, job.row, job.scratch, loaded)
    optimizer = method.optimizer(SETTINGS["learning_rate"].default_for(is_chat=False))
    step = TrainingStep(loaded.model, optimizer, config.device, config.precision)
    for batch in batches[: config.burn_in]:
        step(batch)
    seconds = tuple(time_steps(step, timed))
    tokens = tuple(int(batch["attention_mask"].sum()) for batch in timed)
    if job.number > 0:
        return Measured(seconds=seconds, tokens=tokens)
    by_size = sorted(timed, key=computed_tokens)
    return Measured(
        seconds=seconds,
        tokens=tokens,
        memory=measure_memory(step, by_size[-1]),
        flops=count_flops(step, by_size[len(by_size) // 2]),
        parameters=count_parameters(method, loaded.head, total, None),
        operations=() if job.trace is None else trace_step(step, by_size[-1], Path(job.trace)),
    )


class _ReferenceMethod(SparseMethod):
    """SparseGrad on the paper's own layer."""

    def __init__(self, loaded: LoadedModel, config: MethodConfig, basis: Basis, form: Any) -> None:
        self.model, self.config = loaded.model, config
        self.applied = apply_reference(loaded.model, basis, form, config.density, config.kept)
        self.adapted = self.applied.adapted
        choose_trained(loaded.model, loaded.head, self.adapted, config.freeze_rest)


def build_method(bench: BenchConfig, row: RowSpec, scratch: str, loaded: LoadedModel) -> Method:
    """Returns a row's method on a model; a basis that it needs is in the folder `scratch`."""
    basis = load_basis(Path(scratch) / BASIS) if needs_basis(row) else None
    config = MethodConfig(
        freeze_rest=bench.freeze_rest,
        density=None if bench.kept else bench.density,
        kept=bench.kept,
        rank=bench.rank,
        basis_rank=bench.basis_rank,
        recompute=row.recompute,
        precision=ROTATION_PRECISION[bench.precision],
        seed=bench.seed,
    )
    if row.place in REFERENCE_FORMS and basis is not None:
        return _ReferenceMethod(loaded, config, basis, row.place)
    config = replace(config, mask=cast(Mask | None, row.mask), place=cast(Place | None, row.place))
    method_class = get_method(row.method)
    if method_class.calibration(config) in ("squares", "gradients"):  # what they choose costs nothing
        places = find_mlp_linears(loaded.model)
        basis = Basis({}, {}, {p.name: torch.rand(p.linear.weight.shape) for p in places})
    return method_class(loaded.model, loaded.head, config, basis)


class TrainingStep:
    """A training step as `finetune` takes it, without what Trainer puts around it.

    Args:
        model: ready for training, on its device.
        optimizer: of all that takes gradients.
        device: "cpu" or "cuda".
        precision: "bf16" computes forward under autocast.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str
    ) -> None:
        self.model, self.optimizer, self.device = model, optimizer, device
        self.bf16 = precision == "bf16"

    def __call__(self, batch: Batch) -> None:
        for act in self.phases(batch).values():
            act()

    def phases(self, batch: Batch) -> Mapping[Phase, Callable[[], None]]:
        """Returns the parts of the step on `batch`, in order."""
        loss: list[Tensor] = []

        def forward() -> None:
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
                loss.append(self.model(**batch).loss)

        def optimize() -> None:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

        return {"forward": forward, "backward": lambda: loss.pop().backward(), "optimizer": optimize}


class Stopwatch:
    """Measures steps without waiting for the device in between: on CUDA by events in its stream."""

    def __init__(self, device: str) -> None:
        self.on_cuda = device == "cuda"
        self._ticks: list[Any] = []

    def tick(self) -> None:
        """Mark the start of the first step, or the end of a step."""
        if self.on_cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._ticks.append(event)
        else:
            self._ticks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Returns the time between each two marks."""
        if not self.on_cuda:
            return [end - begin for begin, end in pairwise(self._ticks)]
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairwise(self._ticks)]


def time_steps(step: TrainingStep, batches: Sequence[Batch]) -> list[float]:
    """Returns the seconds of a step on each batch."""
    synchronize(step.device)
    watch = Stopwatch(step.device)
    watch.tick()
    for batch in batches:
        step(batch)
        watch.tick()
    return watch.seconds()


def measure_memory(step: TrainingStep, batch: Batch) -> Memory:
    """Take one step on `batch`, and return what it holds.

    Args:
        step: after as many steps as give the optimizer its state.
        batch: the largest.
    """
    model = step.model
    holds_basis = [m for m in model.modules() if isinstance(m, Subspace | ReferenceLinear)]
    basis = [buffer for module in holds_basis for buffer in module.buffers(recurse=False)]
    basis += group_tensors(step.optimizer)
    peaks: dict[Phase, int] = {}
    held: dict[Phase, int] = {}
    gradients = 0
    on_cuda = step.device == "cuda"
    meter = _CUDAPeak() if on_cuda else CPUPeak()
    live = live_bytes(model, step.optimizer, batch.values())
    now = before = torch.cuda.memory_allocated() if on_cuda else live
    for name, act in step.phases(batch).items():
        meter.start(now)
        act()
        peaks[name] = meter.stop()
        now = held[name] = meter.held
        if name == "backward":
            gradients = storage_bytes(p.grad for p in model.parameters() if p.grad is not None)
    phase = max(peaks, key=lambda name: peaks[name])
    return Memory(
        weights=storage_bytes([*model.parameters(), *model.buffers(), *basis]) - storage_bytes(basis),
        basis=storage_bytes(basis),
        optimizer=storage_bytes(optimizer_tensors(step.optimizer)),
        gradients=gradients,
        activations=held["forward"] - before,
        peak=peaks[phase],
        peak_phase=phase,
    )


class _CUDAPeak:
    """The same as `CPUPeak`, from CUDA's statistics."""

    held = 0

    def start(self, live: int) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def stop(self) -> int:
        torch.cuda.synchronize()
        self.held = torch.cuda.memory_allocated()
        return torch.cuda.max_memory_allocated()


def count_flops(step: TrainingStep, batch: Batch) -> int:
    """Take one step on `batch`, and return the FLOPs of its matrix products and attention, padding included.

    torch's counter knows neither elementwise operations, sums by index, sorts, the optimizer nor the kernels
    of our own.
    """
    mapping = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    counter.mod_tracker = _NoModules()
    with counter:
        step(batch)
    return counter.get_total_flops()


class _NoModules(ModuleTracker):
    """Counts the whole model as one: the tracker's hooks forbid `autograd.grad` in a backward of our own."""

    def __enter__(self) -> _NoModules:
        return self

    def __exit__(self, *args: object) -> None:
        pass


def _cpu_attention_flops(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def trace_step(step: TrainingStep, batch: Batch, path: Path) -> tuple[Operation, ...]:
    """Write a Chrome trace of a step to `path` (`.json.gz`), and return its most expensive operations.

    Their time is their own, without the operations that they call; on CUDA that of the kernels.
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


def measure_machine(job: MachineJob, progress: Progress) -> Machine:
    """Time a large matrix product, the best of a few tries; on CUDA look first what others hold."""
    used = 0
    if job.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        used = max(0, total - free - CUDA_CONTEXT)
    side = SIDE[job.device]
    dtype = torch.bfloat16 if job.precision == "bf16" else torch.float32
    A = torch.randn(side, side, device=job.device, dtype=dtype)
    seconds = []
    with float32_products(job.precision):
        for _ in range(TRIES + 1):  # the first does not count
            synchronize(job.device)
            began = time.perf_counter()
            A @ A
            synchronize(job.device)
            seconds.append(time.perf_counter() - began)
    return Machine(peak_flops=2 * side**3 / min(seconds[1:]), used_by_others=used)


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
