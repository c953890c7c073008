"""`sparsegrad bench calibrate`: our running sums against the paper's stack of gradients and its SVD.

Each is measured in a process of its own. Where the stack would not fit, `--no-stack` leaves the paper's way
out; the stack's size is computed all the same.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from ..config import Given, Padding, check_given
from ..core import Basis, LayerBasis, calibrate, find_mlp_linears
from ..errors import InputError
from ..progress import Progress
from ..settings import Record, config_id
from ..store.basis_file import load_basis, save_basis
from ..workers import Pool
from .config import (
    CALIBRATION_OPTIONS,
    Agreement,
    CalibrationConfig,
    CalibrationResult,
    CalibrationRow,
    KindSize,
    Way,
)
from .measure import synchronize
from .target import Batch, Failure, Job, ResolvedTarget, Tell, ask, find_target

ENERGY = 0.9  # carried by the leading directions that are compared
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class CalibrateJob(Job):
    """Find a basis, by sums or by the SVD of the stack, and write it."""

    by: Way
    steps: int
    probe_steps: int = 0
    basis_rank: int | None = None
    basis: str  # file to write
    padding: Padding


class Calibrated(Record):
    """The answer to `CalibrateJob`."""

    seconds: float
    gradient_seconds: float
    added_bytes: int | None
    unseen_energy: dict[str, float] | None = None  # kind -> share that a truncated basis keeps


def plan_calibration(given: Given) -> tuple[CalibrationConfig, ResolvedTarget]:
    """Finds model and data of a comparison of calibrations, and fills in the defaults.

    Args:
        given: by name, settings of `config.CALIBRATION_OPTIONS`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    given = check_given(given, CALIBRATION_OPTIONS)
    found = find_target(given)
    config = CalibrationConfig(
        **found.target.model_dump(),
        steps=given.get("calibration_steps", CALIBRATION_OPTIONS["calibration_steps"].default),
        basis_rank=given.get("basis_rank"),
        padding=found.padding(given.get("padding")),
        stack=given.get("stack", True),
    )
    return config, found


def run_calibration(
    config: CalibrationConfig, found: ResolvedTarget, tell: Tell, pool: Pool | None = None
) -> CalibrationResult:
    """Measure both ways with `config.steps` batches, ours also with a third and with four thirds of them.

    Args:
        tell: called with a line when a calibration has ended.
        pool: whose only worker calibrates; None: each has a process of its own.

    Raises:
        InputError: the stack would not fit into memory.
    """
    check_stack_fits(config, found, available_bytes(config.device))
    third = max(1, config.steps // 3)
    stack: list[tuple[Way, int]] = [("svd", config.steps)] if config.stack else []
    plans: list[tuple[Way, int]] = [
        ("sums", config.steps),
        *stack,
        ("sums", third),
        ("sums", config.steps + third),
    ]
    rows: list[CalibrationRow] = []
    sizes: tuple[KindSize, ...] = ()
    with tempfile.TemporaryDirectory() as name:
        shared = found.prepare(Path(name), config.steps + third + 1)
        paths = [Path(name) / f"{by}-{steps}.safetensors" for by, steps in plans]
        for (by, steps), path in zip(plans, paths, strict=True):
            rank = config.basis_rank if by == "sums" else None
            job = CalibrateJob(
                **shared, by=by, steps=steps, basis_rank=rank, padding=config.padding, basis=str(path)
            )
            answer = ask(find_basis, job, config.device, pool)
            rows.append(_row(job, answer))
            if not sizes and isinstance(answer, Calibrated):
                sizes = _sizes(load_basis(path), answer, gradients_of_a_kind(config, found))
            tell(f"{by}, batches {steps}: " + (rows[-1].error or f"{rows[-1].seconds:.3g} s"))
        both = config.stack and all(row.status == "done" for row in rows[:2])
        agreement = compare(load_basis(paths[0]), load_basis(paths[1])) if both else ()
    return CalibrationResult(
        id=config_id(config), rows=tuple(rows), agreement=tuple(agreement), kinds=tuple(sizes)
    )


def gradients_of_a_kind(config: CalibrationConfig, found: ResolvedTarget) -> int:
    """Returns the number of gradients of one kind of linear, over blocks and batches."""
    return config.steps * found.skeleton.config.num_hidden_layers


def _sizes(basis: Basis, answer: Calibrated, gradients: int) -> tuple[KindSize, ...]:
    return tuple(
        KindSize(
            kind=kind,
            shape=b.shape,
            stack_bytes=one_stack_bytes(b.shape, gradients),
            rank=b.rank,
            v_keeps=b.V_energy.double().sum().item(),
            u_keeps=b.U_energy.double().sum().item(),
            both_keep=(answer.unseen_energy or {}).get(kind),
        )
        for kind, b in basis.kinds.items()
    )


def compare(one: Basis, other: Basis) -> list[Agreement]:
    """Returns the largest principal angle between the leading directions of two bases, by kind and side.

    So many directions are compared as carry 90% of the energy in `one`. The cosines of the principal angles
    are the singular values of `A^T B`.
    """
    found = []
    for kind, basis in one.kinds.items():
        for side in ("V", "U"):
            A, B = getattr(basis, side), getattr(other.kinds[kind], side)
            energy = getattr(basis, f"{side}_energy").double()
            r = min(len(energy), int((energy.cumsum(0) < ENERGY * energy.sum()).sum()) + 1)
            cosine = torch.linalg.svdvals(A[:, :r].double().T @ B[:, :r].double()).min().clamp(max=1)
            found.append(
                Agreement(
                    kind=kind,
                    side=side,
                    size=len(energy),
                    directions=r,
                    cosine=cosine.item(),
                    degrees=cosine.arccos().rad2deg().item(),
                )
            )
    return found


def check_stack_fits(config: CalibrationConfig, found: ResolvedTarget, available: int) -> None:
    """Refuses a stack that memory could not hold.

    Raises:
        InputError: the stack and its SVD need more than is available; the message says what to lower.
    """
    if not config.stack:
        return
    kinds = list(dict.fromkeys(found.shapes))
    gradients = gradients_of_a_kind(config, found)
    needed = stack_bytes(kinds, gradients)
    if needed > available:
        raise InputError(
            f"the stack of {gradients} gradients of each kind and its SVD need about {needed / 1e9:,.1f} GB, "
            f"{available / 1e9:,.1f} GB are free: lower --calibration-steps or --layers, "
            "or leave them out by --no-stack"
        )


def available_bytes(device: str) -> int:
    """Returns the memory that can be had without swapping."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def _row(job: CalibrateJob, answer: Calibrated | Failure) -> CalibrationRow:
    if isinstance(answer, Failure):
        return CalibrationRow(by=job.by, steps=job.steps, **answer.model_dump())
    cost = answer.model_dump(exclude={"unseen_energy"})
    return CalibrationRow(by=job.by, steps=job.steps, status="done", **cost)


def find_basis(job: CalibrateJob, progress: Progress) -> Calibrated:
    """Find a basis of the model in training mode, write it, and return what that took.

    The peak is what is held beyond the model: passes, sums or stack, and decomposition. What a truncated
    basis keeps of unseen gradients is measured afterwards, on one more batch.
    """
    target = job.target
    model = job.model(job.padding).model
    batches = job.batches(0, job.steps + max(1, job.probe_steps), job.padding)
    set_seed(target.seed)  # the same dropout for both ways
    before = _begin_peak(target.device)
    began = time.perf_counter()
    gathered = began

    def note_time(done: int) -> None:
        nonlocal gathered
        if done == job.steps:
            synchronize(target.device)
            gathered = time.perf_counter()

    if job.by == "svd":
        basis, gathered = svd_basis(model, batches[: job.steps])
    else:
        basis = calibrate(
            model, batches, job.steps, job.probe_steps, on_step=note_time, basis_rank=job.basis_rank
        )
    synchronize(target.device)
    ended = time.perf_counter()
    after = _end_peak(target.device)
    save_basis(basis, Path(job.basis))
    return Calibrated(
        seconds=ended - began,
        gradient_seconds=gathered - began,
        added_bytes=None if before is None or after is None else after - before,
        unseen_energy=None if job.basis_rank is None else energy_kept(model, batches[job.steps], basis),
    )


def svd_basis(model: nn.Module, batches: Iterable[Batch]) -> tuple[Basis, float]:
    """Compute the paper's HOSVD to the letter: stack the gradients of a kind, decompose both unfoldings.

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
            gradient = place.linear.weight.grad
            assert gradient is not None
            stacks[place.kind].append(gradient)
            place.linear.weight.grad = None
    if places[0].linear.weight.is_cuda:
        torch.cuda.synchronize()
    gathered = time.perf_counter()
    kinds = {}
    for kind in list(stacks):
        stack = torch.stack(stacks.pop(kind))  # n x O x I
        V, V_energy = _left_singular_vectors(stack.transpose(0, 1).flatten(1))
        U, U_energy = _left_singular_vectors(stack.permute(2, 0, 1).flatten(1))
        kinds[kind] = LayerBasis(U=U, V=V, U_energy=U_energy, V_energy=V_energy)
        del stack
    return Basis(kinds, {"source": "svd of the stack"}), gathered


def energy_kept(model: nn.Module, batch: Batch, basis: Basis) -> dict[str, float]:
    """Returns, for each kind, the share of the energy of the gradients of `batch` that `V G~ U^T` keeps."""
    places = find_mlp_linears(model)
    weights = [place.linear.weight.requires_grad_() for place in places]
    gradients = torch.autograd.grad(model(**batch).loss, weights)
    kept, whole = dict.fromkeys(basis.kinds, 0.0), dict.fromkeys(basis.kinds, 0.0)
    for place, G in zip(places, gradients, strict=True):
        b = basis.kinds[place.kind]
        kept[place.kind] += b.to_basis(G).norm().square().item()
        whole[place.kind] += G.norm().square().item()
    return {kind: kept[kind] / whole[kind] for kind in kept}


def stack_bytes(shapes: Iterable[tuple[int, int]], gradients: int) -> int:
    """Returns about what `svd_basis` holds at its peak, in bytes.

    That is every stack and, of the largest one, an unfolding, LAPACK's copy of it, and its right singular
    vectors.

    Args:
        shapes: `O x I` of each kind.
        gradients: of each kind, over blocks and batches.
    """
    stacks = [one_stack_bytes(shape, gradients) for shape in shapes]
    return sum(stacks) + 3 * max(stacks)


def one_stack_bytes(shape: tuple[int, int], gradients: int) -> int:
    """Returns the bytes of a stack of float32 gradients, each `O x I`."""
    O, I = shape
    return 4 * O * I * gradients


def _left_singular_vectors(unfolding: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the vectors, largest first, with their shares of the energy; zeros beyond the rank."""
    vectors, values, _ = torch.linalg.svd(unfolding, full_matrices=False)
    energy = values.square() / values.square().sum()
    beyond = (0, len(unfolding) - len(values))
    return F.pad(vectors, beyond), F.pad(energy, beyond)


def _begin_peak(device: str) -> int | None:
    """Let the peak begin anew; returns the bytes held now, None where the system does not say."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        CLEAR.write_text("5")
    except OSError:
        return None
    return _resident_bytes("VmRSS")


def _end_peak(device: str) -> int | None:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _resident_bytes("VmHWM")


def _resident_bytes(key: str) -> int | None:
    """Returns the resident set of this process, now (VmRSS) or at its peak (VmHWM)."""
    try:
        found = re.search(rf"{key}:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
