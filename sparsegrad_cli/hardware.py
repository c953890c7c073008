"""The cores and GPUs that this process and its workers share; imports torch only where GPUs are asked for."""

from __future__ import annotations

import os

import psutil

from .errors import InputError

LOOK_SECONDS = 0.2  # at what the cores do
BUSY = 0.5  # cores; with fewer in use by others we count as alone


def visible_gpus() -> list[str]:
    """Returns the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return named.split(",")
    return [str(number) for number in range(torch.cuda.device_count())]


def threads_of(workers: int) -> int:
    """Returns the threads of each of `workers` processes on this machine; OMP_NUM_THREADS overrides it."""
    set_by_user = os.environ.get("OMP_NUM_THREADS")
    return int(set_by_user) if set_by_user else max(1, len(os.sched_getaffinity(0)) // workers)


def busy_cores() -> float:
    """Returns how many of our cores are busy with the work of others: looks on for a moment."""
    shares = psutil.cpu_percent(LOOK_SECONDS, percpu=True)
    return sum(shares[core] for core in os.sched_getaffinity(0) if core < len(shares)) / 100


def wait_without_spinning() -> str | None:
    """Where others use our cores, have torch's threads sleep while they wait; workers do so too.

    By default they spin, which is faster alone and half as fast beside others. To be called before torch is
    imported; what the user says by OMP_WAIT_POLICY is left alone.

    Returns:
        A line for the user; None if the cores are free, or he has said.
    """
    busy = 0.0 if "OMP_WAIT_POLICY" in os.environ else busy_cores()
    if busy < BUSY:
        return None
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    cores = len(os.sched_getaffinity(0))
    return f"others keep {busy:.1f} of {cores} cores busy: training is slower, speed figures will be low"


def worker_env(place: int, workers: int, device: str) -> dict[str, str]:
    """Returns a worker's environment variables besides our own: its GPU and its share of the cores."""
    env = {} if workers == 1 else {"OMP_NUM_THREADS": str(threads_of(workers))}
    if device == "cuda":
        gpus = visible_gpus()
        env["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    return env


def count_workers(device: str, workers: int | None, per_gpu: int | None) -> int:
    """Returns the number of workers: as asked for; else `per_gpu` on each GPU, or one.

    Raises:
        InputError: there are more workers than fit, or --per-gpu without a GPU.
    """
    if device != "cuda":
        if per_gpu is not None:
            raise InputError("--per-gpu: there is no GPU here; --workers shares the cores")
        return workers or 1
    gpus = len(visible_gpus())
    places = gpus * (per_gpu or 1)
    if workers is not None and workers > places:
        raise InputError(
            f"--workers {workers}: {gpus} GPUs with {per_gpu or 1} workers each make {places}; see --per-gpu"
        )
    return workers or places
