"""What this machine reaches at most: a large matrix product and a large copy."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from .jobs import Machine
from .schema import Peaks

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices
COPIED = {"cpu": 1 << 26, "cuda": 1 << 28}  # float32 numbers
TRIES = 4
CONTEXT = 600_000_000  # bytes that a CUDA process holds before it allocates anything


def measure_machine(device: str, precision: str) -> Machine:
    """The best of a few tries of each; on CUDA also the bytes that other processes hold.

    Args:
        device: "cpu" or "cuda".
        precision: of the product, as in `--precision`.
    """
    used = 0
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        used = max(0, total - free - CONTEXT)
    set_precision(precision)
    side, numbers = SIDE[device], COPIED[device]
    A = torch.randn(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16" else None)
    product = _fastest(lambda: A @ A, device)
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    copy = _fastest(lambda: target.copy_(source), device)
    peaks = Peaks(operations_per_second=2 * side**3 / product, bytes_per_second=2 * 4 * numbers / copy)
    return Machine(peaks=peaks, used_by_others=used)


def set_precision(precision: str) -> None:
    """Lets float32 products be taken in TF32 where that is asked for."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def synchronize(device: str) -> None:
    """Waits until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def _fastest(act: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of a few calls, after one that does not count."""
    seconds = []
    for _ in range(TRIES + 1):
        synchronize(device)
        began = time.perf_counter()
        act()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
