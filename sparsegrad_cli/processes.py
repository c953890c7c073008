"""Worker processes of one machine: what each may use, and how all of them are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

STOP_SECONDS = 60.0  # that a worker has for recording that it was stopped, before it is killed


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return named.split(",")
    return [str(number) for number in range(torch.cuda.device_count())]


def threads_of(workers: int) -> int:
    """Threads of each of so many workers on this machine's cores, unless OMP_NUM_THREADS says."""
    set_by_user = os.environ.get("OMP_NUM_THREADS")
    return int(set_by_user) if set_by_user else max(1, len(os.sched_getaffinity(0)) // workers)


def surroundings(place: int, workers: int, device: str) -> dict[str, str]:
    """Environment variables of a worker besides our own: a GPU in turn, or a share of the cores."""
    if device == "cuda":
        gpus = visible_gpus()
        return {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]}
    if workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(threads_of(workers))}


def stop_all(processes: Sequence[subprocess.Popen[bytes]] | Sequence[subprocess.Popen[str]]) -> None:
    """Stops them as Ctrl-C does, and waits; one that does not end in time is killed."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    try:
        for process in running:
            process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in running:
            process.kill()
            process.wait()
