"""In a worker: the steps of one row, timed; in the first round also their memory and their floor."""

from __future__ import annotations

import statistics
from pathlib import Path

from ..core import Corner
from ..methods import get_method
from ..methods.base import Method, Settings, count_parameters
from ..store.basis_file import load_basis
from ..training.recipe import GLUE
from .batches import load_batches, tokens_of
from .build import build_model
from .floors import Ranks, Trained, count_work, read_architecture
from .jobs import Measured, MeasureJob
from .memory import forget_resident_peak, measure_memory, resident_bytes
from .schema import Memory, Work
from .step import TrainingStep, time_steps
from .trace import trace_step


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
    # the support is dynamic unless the row says otherwise; a confined one has no form
    chosen = {key: getattr(job.row, key) for key in ("form", "support") if getattr(job.row, key)}
    settings = Settings(
        freeze_rest=job.freeze_rest, density=job.density, kept=job.kept, rank=job.rank, **chosen
    )
    basis = None if job.basis is None else load_basis(Path(job.basis))
    method = get_method(job.row.method)(loaded.model, loaded.head, settings, basis)
    ranks = {} if basis is None else {kind.shape: kind.rank for kind in basis.kinds.values()}
    del basis  # on a CPU the method holds what it needs of it
    optimizer = method.optimizer(GLUE.learning_rate)
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


def _trained(job: MeasureJob, method: Method, ranks: Ranks, memory: Memory) -> Trained:
    masked_of = {"meprop": True, "sparsegrad": job.row.support not in ("fixed", "block")}
    masked = masked_of.get(job.row.method, False)
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
            (corner.V.shape[0], corner.U.shape[0]): corner.shape
            for corner in method.model.modules()
            if isinstance(corner, Corner)
        },
        basis_bytes=memory.basis,
        saved_bytes=memory.activations,
    )
