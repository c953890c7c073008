"""In a worker: a basis found by our running sums, or as the paper has it, by stack and SVD."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from ..core import Basis, KindBasis, Rotation, calibrate, find_mlp_linears
from ..store.basis_file import save_basis
from .batches import Batch, load_batches
from .build import build_model
from .jobs import Calibrated, CalibrateJob
from .machine import synchronize
from .memory import forget_resident_peak, resident_bytes


def find_basis(job: CalibrateJob) -> Calibrated:
    """Finds a basis of the model in training mode, writes it, and tells what that took.

    The peak is what is held beyond the model: passes, sums or stack, and decomposition. What a truncated
    basis keeps of unseen gradients is measured after, on one more batch.
    """
    subject = job.setup.subject
    model = build_model(job.setup).model
    batches = load_batches(job.setup.batches, 0, job.steps + max(1, job.probe_steps), subject.device)
    set_seed(subject.seed)  # the same dropout for both ways
    before = _begin_peak(subject.device)
    began = time.perf_counter()
    gathered = began

    def tell_time(done: int) -> None:
        nonlocal gathered
        if done == job.steps:
            synchronize(subject.device)
            gathered = time.perf_counter()

    if job.by == "svd":
        basis, gathered = svd_basis(model, batches[: job.steps])
    else:
        basis = calibrate(
            model, batches, job.steps, job.probe_steps, on_step=tell_time, basis_rank=job.basis_rank
        ).basis
    synchronize(subject.device)
    ended = time.perf_counter()
    after = _end_peak(subject.device)
    save_basis(basis, Path(job.basis))
    return Calibrated(
        seconds=ended - began,
        gradient_seconds=gathered - began,
        added_bytes=None if before is None or after is None else after - before,
        unseen_energy=None if job.basis_rank is None else energy_kept(model, batches[job.steps], basis),
    )


def svd_basis(model: nn.Module, batches: Iterable[Batch]) -> tuple[Basis, float]:
    """The paper's HOSVD to the letter: gradients of one kind stacked, both unfoldings decomposed.

    The stack of `n` gradients, over blocks and batches, is `n x O x I`. `V` are the left singular vectors of
    its unfolding `O x (n I)`, `U` those of `I x (n O)`.

    Returns:
        The basis, and the clock when the stacks were whole.
    """
    places = find_mlp_linears(model)
    for p in model.parameters():
        p.requires_grad_(False)
    for place in places:
        place.linear.weight.requires_grad_()
    stacks: dict[str, list[Tensor]] = {place.kind: [] for place in places}
    for batch in batches:
        model(**batch).loss.backward()
        for place in places:
            stacks[place.kind].append(place.linear.weight.grad)
            place.linear.weight.grad = None
    if places[0].linear.weight.is_cuda:
        torch.cuda.synchronize()
    gathered = time.perf_counter()
    kinds = {}
    for kind in list(stacks):
        stack = torch.stack(stacks.pop(kind))  # n x O x I
        V, V_energy = _left_singular_vectors(stack.transpose(0, 1).flatten(1))
        U, U_energy = _left_singular_vectors(stack.permute(2, 0, 1).flatten(1))
        kinds[kind] = KindBasis(U=U, V=V, U_energy=U_energy, V_energy=V_energy)
        del stack
    return Basis(kinds, {"source": "svd of the stack"}), gathered


def energy_kept(model: nn.Module, batch: Batch, basis: Basis) -> dict[str, float]:
    """For each kind, the share of the energy of the gradients of `batch` that `V G~ U^T` keeps."""
    places = find_mlp_linears(model)
    weights = [place.linear.weight.requires_grad_() for place in places]
    gradients = torch.autograd.grad(model(**batch).loss, weights)
    kept, whole = dict.fromkeys(basis.kinds, 0.0), dict.fromkeys(basis.kinds, 0.0)
    for place, G in zip(places, gradients, strict=True):
        b = basis.kinds[place.kind]
        kept[place.kind] += Rotation(b.U, b.V).to_basis(G).norm().square().item()
        whole[place.kind] += G.norm().square().item()
    return {kind: kept[kind] / whole[kind] for kind in kept}


def stack_bytes(shapes: Iterable[tuple[int, int]], gradients: int) -> int:
    """What `svd_basis` holds at its peak, about: every stack, and of the largest one an unfolding, LAPACK's
    copy of it, and its right singular vectors.

    Args:
        shapes: `O x I` of each kind.
        gradients: of each kind, over blocks and batches.
    """
    stacks = [one_stack_bytes(shape, gradients) for shape in shapes]
    return sum(stacks) + 3 * max(stacks)


def one_stack_bytes(shape: tuple[int, int], gradients: int) -> int:
    """Of so many float32 gradients, `O x I`."""
    O, I = shape
    return 4 * O * I * gradients


def _left_singular_vectors(unfolding: Tensor) -> tuple[Tensor, Tensor]:
    """Largest first, with their shares of the energy; zeros beyond the rank that a short stack has."""
    vectors, values, _ = torch.linalg.svd(unfolding, full_matrices=False)
    energy = values.square() / values.square().sum()
    beyond = (0, len(unfolding) - len(values))
    return F.pad(vectors, beyond), F.pad(energy, beyond)


def _begin_peak(device: str) -> int | None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return resident_bytes() if forget_resident_peak() else None


def _end_peak(device: str) -> int | None:
    return torch.cuda.max_memory_allocated() if device == "cuda" else resident_bytes(peak=True)
