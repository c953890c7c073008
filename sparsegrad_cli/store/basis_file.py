"""A basis on disk: a safetensors file whose header says what the basis was made from."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..core import Basis
from ..errors import InputError
from .io import write_atomically

FORMAT = "sparsegrad-basis-1"


def save_basis(basis: Basis, path: Path) -> None:
    """Write `basis` to `path` atomically."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in basis.tensors().items()}
    shapes = {f"shape of {kind}": "{} x {}".format(*b.shape) for kind, b in basis.kinds.items()}
    metadata = {**basis.made_from, **shapes, "format": FORMAT}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_basis(path: Path) -> Basis:
    """Returns a basis that `save_basis` wrote.

    Raises:
        InputError: the file is missing, damaged or not a basis.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError("it lacks the header of one")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Basis.from_tensors(tensors, metadata)
    except FileNotFoundError:
        raise InputError(f"no such basis: {path}; `sparsegrad calibrate` writes a basis") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a basis ({error}); `sparsegrad calibrate` writes one") from None
