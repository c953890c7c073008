"""`bench calibrate`: running sums against the paper's stack and SVD, each in a process of its own.

Where the stack would not fit, `stack: false` leaves the paper's way out; its size is told all the same.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from ..core import Basis
from ..errors import InputError
from ..store.basis_file import load_basis
from .basis import one_stack_bytes, stack_bytes
from .batches import save_batches
from .jobs import Calibrated, CalibrateJob, Failure
from .process import ask
from .run import Tell
from .schema import Agreement, CalibrationConfig, CalibrationResult, CalibrationRow, KindSize, hash_of
from .subject import Found

ENERGY = 0.9  # carried by the leading directions that are compared


def run_calibration(config: CalibrationConfig, found: Found, tell: Tell) -> CalibrationResult:
    """Measures both ways with `config.steps` batches, ours also with a third and with four thirds of them.

    Raises:
        InputError: the stack would not fit into memory.
    """
    check_stack_fits(config, found, available_bytes(config.device))
    found.fetch()
    third = max(1, config.steps // 3)
    stack = [("svd", config.steps)] if config.stack else []
    plans = [("sums", config.steps), *stack, ("sums", third), ("sums", config.steps + third)]
    rows, sizes = [], ()
    with tempfile.TemporaryDirectory() as name:
        setup = found.setup(str(Path(name) / "batches.safetensors"))
        save_batches(found.batches(), config.steps + third + 1, Path(setup.batches))
        paths = [Path(name) / f"{by}-{steps}.safetensors" for by, steps in plans]
        for (by, steps), path in zip(plans, paths, strict=True):
            rank = config.basis_rank if by == "sums" else None
            job = CalibrateJob(
                setup=setup, by=by, steps=steps, probe_steps=0, basis_rank=rank, basis=str(path)
            )
            answer = ask(job, Calibrated)
            rows.append(_row(job, answer))
            if not sizes and isinstance(answer, Calibrated):
                sizes = _sizes(load_basis(path), answer, gradients_of_a_kind(config, found))
            tell(f"{by}, batches {steps}: " + (rows[-1].error or f"{rows[-1].seconds:.3g} s"))
        both = config.stack and all(row.status == "done" for row in rows[:2])
        agreement = compare(load_basis(paths[0]), load_basis(paths[1])) if both else ()
    return CalibrationResult(
        id=hash_of(config), rows=tuple(rows), agreement=tuple(agreement), kinds=tuple(sizes)
    )


def gradients_of_a_kind(config: CalibrationConfig, found: Found) -> int:
    """Over blocks and batches."""
    return config.steps * found.skeleton.config.num_hidden_layers


def _sizes(basis: Basis, answer: Calibrated, gradients: int) -> tuple[KindSize, ...]:
    return tuple(
        KindSize(
            kind=kind,
            shape=b.shape,
            stack_bytes=one_stack_bytes(b.shape, gradients),
            rank=b.rank,
            v_keeps=b.energy_kept.V,
            u_keeps=b.energy_kept.U,
            both_keep=(answer.unseen_energy or {}).get(kind),
        )
        for kind, b in basis.kinds.items()
    )


def compare(one: Basis, other: Basis) -> list[Agreement]:
    """For each kind and side: the largest principal angle between the leading directions of the two.

    The number of directions is what carries 90% of the energy in `one`. The cosines of the principal angles
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


def check_stack_fits(config: CalibrationConfig, found: Found, available: int | None) -> None:
    """Refuse what the paper's way could not hold.

    Raises:
        InputError: the stack and its SVD need more than is available; says what to lower.
    """
    if not config.stack:
        return
    kinds = list(dict.fromkeys(found.shapes))
    gradients = gradients_of_a_kind(config, found)
    needed = stack_bytes(kinds, gradients)
    if available is not None and needed > available:
        raise InputError(
            f"the stack of {gradients} gradients of each kind and its SVD need about {needed / 1e9:,.1f} GB, "
            f"{available / 1e9:,.1f} GB are free: lower --calibration-steps or --layers, "
            "or leave them out by --no-stack"
        )


def available_bytes(device: str) -> int | None:
    """Memory that can be had, without swapping; None where the system does not tell."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*found, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")])


def _row(job: CalibrateJob, answer: Calibrated | Failure) -> CalibrationRow:
    if isinstance(answer, Failure):
        return CalibrationRow(by=job.by, steps=job.steps, **answer.model_dump())
    cost = answer.model_dump(exclude={"unseen_energy"})
    return CalibrationRow(by=job.by, steps=job.steps, status="done", **cost)
