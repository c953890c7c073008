"""In a worker: the steps of one row, timed; in the first round also their memory and their floor."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from ..config import SETTINGS
from ..core import Basis, Subspace, SubspaceLinear, find_mlp_linears
from ..core.reference import REFERENCE_FORMS, ReferenceLinear, apply_reference
from ..methods import get_method
from ..methods.base import Method, MethodConfig, choose_trained, count_parameters
from ..methods.sparse import SparseMethod
from ..models.load import LoadedModel
from ..store.basis_file import load_basis
from ..training.memory import live_bytes
from .floors import Ranks, Trained, count_work, read_architecture
from .jobs import Measured, MeasureJob
from .machine import synchronize
from .schema import Memory, Operation, Work
from .step import Batch, TrainingStep, build_model, load_batches, time_steps, tokens_of


def measure(job: MeasureJob) -> Measured:
    """Builds the model, burns in, times the steps, then counts what they cost."""
    subject = job.setup.subject
    at_start = resident_bytes()
    loaded = build_model(job.setup)
    batches = load_batches(job.setup.batches, job.first_batch, job.burn_in + job.steps, subject.device)
    timed = batches[job.burn_in :]
    met = [
        read_architecture(loaded.model, loaded.head, batch["attention_mask"].sum(1).tolist())
        for batch in timed
    ]
    total = sum(p.numel() for p in loaded.model.parameters())
    basis = None if job.basis is None else load_basis(Path(job.basis))
    method = _build_method(job, loaded, basis)
    ranks = {} if basis is None else {kind.shape: kind.rank for kind in basis.kinds.values()}
    del basis  # on a CPU the method holds what it needs of it
    optimizer = method.optimizer(SETTINGS["learning_rate"].default_for(is_chat=False))
    step = TrainingStep(loaded.model, optimizer, subject.device, subject.precision)
    for batch in batches[: job.burn_in]:
        step(batch)
    tells_peak = forget_resident_peak()
    seconds = tuple(time_steps(step, timed))
    tokens = tuple(tokens_of(batch) for batch in timed)
    if not job.costs:
        return Measured(seconds=seconds, tokens=tokens)

    peak = resident_bytes(peak=True) if tells_peak else None
    resident = None if peak is None or at_start is None else peak - at_start
    largest = max(timed, key=lambda batch: batch["input_ids"].numel())
    memory = measure_memory(step, largest, resident)
    trained = _trained(job, method, ranks, memory)
    works = [count_work(architecture, trained) for architecture in met]
    operations = () if job.trace is None else trace_step(step, largest, Path(job.trace))
    return Measured(
        seconds=seconds,
        tokens=tokens,
        memory=memory,
        work=Work(
            operations=statistics.fmean(work.operations for work in works),
            bytes=statistics.fmean(work.bytes for work in works),
        ),
        parameters=count_parameters(method, loaded.head, total, None),
        operations=operations,
    )


class _ReferenceMethod(SparseMethod):
    """SparseGrad on the paper's own layer."""

    def __init__(self, job: MeasureJob, loaded: LoadedModel, config: MethodConfig, basis: Basis) -> None:
        self.model, self.config = loaded.model, config
        form = REFERENCE_FORMS[REFERENCE_FORMS.index(job.row.place)]  # type: ignore[arg-type]
        self.applied = apply_reference(loaded.model, basis, form, job.density, job.kept)
        self.adapted = self.applied.adapted
        choose_trained(loaded.model, loaded.head, self.adapted, job.freeze_rest)


def _build_method(job: MeasureJob, loaded: LoadedModel, basis: Basis | None) -> Method:
    row = job.row
    config = MethodConfig(
        freeze_rest=job.freeze_rest,
        density=job.density,
        kept=job.kept,
        rank=job.rank,
        recompute=row.recompute,
    )
    if row.place in REFERENCE_FORMS and basis is not None:
        return _ReferenceMethod(job, loaded, config, basis)
    config = replace(config, mask=row.mask, place=row.place)  # type: ignore[arg-type]
    method_class = get_method(row.method)
    if method_class.calibration(config) == "squares":  # which entries they choose costs nothing
        places = find_mlp_linears(loaded.model)
        basis = Basis({}, {}, {p.name: torch.rand(p.linear.weight.shape) for p in places})
    return method_class(loaded.model, loaded.head, config, basis)


def _trained(job: MeasureJob, method: Method, ranks: Ranks, memory: Memory) -> Trained:
    merged = any(isinstance(m, SubspaceLinear) and m.merge_each_step for m in method.model.modules())
    masked = isinstance(method, SparseMethod) and not merged
    adapted = set(method.adapted)
    trained = [p for p in method.model.parameters() if p.requires_grad]
    return Trained(
        row=job.row,
        freeze_rest=job.freeze_rest,
        dense=sum(p.numel() for p in trained if not (masked and p in adapted)),
        masked=sum(p.numel() for p in adapted) if masked else 0,
        kept=method.moved_at_a_step() if masked else 0,
        rank=job.rank or 0,
        corners=ranks
        | {
            (m.weight.shape[0], m.weight.shape[1]): m.subspace.shape
            for m in method.model.modules()
            if isinstance(m, SubspaceLinear)
        },
        basis_bytes=memory.basis,
        saved_bytes=memory.activations,
    )


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
    basis = [g[name] for g in step.optimizer.param_groups for name in ("U", "V") if g.get(name) is not None]
    basis += [
        b
        for m in model.modules()
        if isinstance(m, Subspace | ReferenceLinear)
        for b in m.buffers(recurse=False)
    ]
    moments = [t for s in step.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
    of_basis = storage_bytes(basis)
    buffers = [
        b for m in model.modules() if not isinstance(m, Subspace | ReferenceLinear) for b in m.buffers(False)
    ]
    weights = storage_bytes([*model.parameters(), *buffers])
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


_Readings = tuple[int, dict[str, int], int, int]  # held after forward, peak of each phase, gradients, before


def _cuda(step: TrainingStep, batch: Batch) -> _Readings:
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


def _cpu(step: TrainingStep, batch: Batch) -> _Readings:
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
