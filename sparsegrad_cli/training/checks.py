"""Checks of options that finetune and bench share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from ..core import kept_entries
from ..errors import InputError
from ..models.load import longest_input
from ..store.names import Precision


def choose_device(device: str, precision: Precision | None) -> str:
    """ "cpu" or "cuda"; "auto" takes CUDA where it is.

    Raises:
        InputError: the device is not there, or cannot compute in `precision`.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("--device cuda: torch sees no CUDA device here; take --device cpu or auto")
    chosen = ("cuda" if available else "cpu") if device == "auto" else device
    if precision == "tf32" and chosen != "cuda":
        raise InputError("--precision tf32 needs a CUDA device; on a CPU take fp32 or bf16")
    return chosen


def check_density(density: float | None, kept: int | None) -> None:
    """Refuses a density out of range, or both.

    Raises:
        InputError: so it is.
    """
    if density is not None and not 0 < density <= 1:
        raise InputError(f"--density must be above 0 and at most 1, got {density:g}")
    if density is not None and kept is not None:
        raise InputError("--density and --kept say the same thing: give one of them")


def check_length(model: PreTrainedModel, name: str, length: int) -> None:
    """Refuses inputs of more tokens than `model`, called `name`, has positions for.

    Raises:
        InputError: so it is.
    """
    longest = longest_input(model)
    if longest is not None and length > longest:
        raise InputError(f"--length {length}: {name} has positions for {longest} tokens")


def check_sizes(name: str, shapes: Sequence[tuple[int, int]], kept: int | None, rank: int | None) -> None:
    """Refuses more entries or a higher rank than the MLP linears of the model called `name` have.

    Args:
        shapes: `O x I` of each.

    Raises:
        InputError: so it is.
    """
    smallest = min(O * I for O, I in shapes)
    if kept is not None and kept > smallest:
        raise InputError(f"--kept {kept}: the MLP matrices of {name} have {smallest} entries")
    narrowest = min(min(shape) for shape in shapes)
    if rank is not None and rank > narrowest:
        raise InputError(f"--rank {rank}: the MLP matrices of {name} have rank {narrowest}")


def check_basis_rank(
    shapes: Sequence[tuple[int, int]], basis_rank: int, kept: int | None, density: float | None
) -> None:
    """Refuses a basis too small for the entries that are to be trained in it.

    Args:
        shapes: `O x I` of each MLP linear.

    Raises:
        InputError: so it is.
    """
    for O, I in dict.fromkeys(shapes):
        rank = (min(O, basis_rank), min(I, basis_rank))
        try:
            kept_entries((O, I), kept, density, rank=rank)
        except ValueError as error:
            raise InputError(f"--basis-rank {basis_rank}: {error}") from None
