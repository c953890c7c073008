"""How many workers there are to be on this machine."""

from __future__ import annotations

from ..errors import InputError
from ..processes import visible_gpus


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
