"""Which GPU, or how many cores, a worker has."""

from __future__ import annotations

import os

from ..errors import InputError


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return named.split(",")
    return [str(number) for number in range(torch.cuda.device_count())]


def count_workers(device: str, workers: int | None, per_gpu: int | None) -> int:
    """How many workers there are to be: as asked; else `per_gpu` on each GPU, or one.

    Args:
        device: "cpu" or "cuda".

    Raises:
        InputError: more workers than fit, or GPUs where there are none.
    """
    if device != "cuda":
        if per_gpu is not None:
            raise InputError("--per-gpu: there is no GPU here; --workers shares the cores")
        return workers or 1
    places = len(visible_gpus()) * (per_gpu or 1)
    if workers is not None and workers > places:
        raise InputError(
            f"--workers {workers}: {len(visible_gpus())} GPUs with {per_gpu or 1} workers each make "
            f"{places}; see --per-gpu"
        )
    return workers or places


def threads_of(workers: int) -> int:
    """Threads of each of so many workers on this machine's cores, unless OMP_NUM_THREADS says."""
    set_by_user = os.environ.get("OMP_NUM_THREADS")
    return int(set_by_user) if set_by_user else max(1, len(os.sched_getaffinity(0)) // workers)


def surroundings(place: int, workers: int, device: str) -> dict[str, str]:
    """Environment variables of a worker besides our own: a GPU in turn, or a share of the cores."""
    if device == "cuda":
        gpus = visible_gpus()
        return {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]}
    return {} if workers == 1 else {"OMP_NUM_THREADS": str(threads_of(workers))}
