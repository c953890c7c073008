"""A basis on disk: a safetensors file whose header says what the basis was made from.

Its tensors, of each kind of MLP linear and of each layer:

    <kind>/U, V, U_energy, V_energy    see `core.LayerBasis`
    <kind>/energy, concentration       where they were measured
    <layer>/squares                    where these were measured, see `core.Basis`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core import Basis, LayerBasis
from ..errors import InputError
from .io import write_atomically

FORMAT = "sparsegrad-basis-1"


def save_basis(basis: Basis, path: Path) -> None:
    """Write `basis` to `path` atomically."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in to_tensors(basis).items()}
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
        return from_tensors(tensors, metadata)
    except FileNotFoundError:
        raise InputError(f"no such basis: {path}; `sparsegrad calibrate` writes a basis") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a basis ({error}); `sparsegrad calibrate` writes one") from None


def to_tensors(basis: Basis) -> dict[str, Tensor]:
    """Returns the tensors of `basis` by their names in its file."""
    return {
        f"{kind}/{part.name}": tensor
        for kind, of_kind in basis.kinds.items()
        for part in fields(of_kind)
        if (tensor := getattr(of_kind, part.name)) is not None
    } | {f"{layer}/squares": tensor for layer, tensor in basis.squares.items()}


def from_tensors(tensors: Mapping[str, Tensor], made_from: Mapping[str, str]) -> Basis:
    """Returns the basis whose `tensors` these are.

    Raises:
        ValueError: a kind lacks one of its tensors, or their shapes disagree.
    """
    squares = {n.removesuffix("/squares"): t for n, t in tensors.items() if n.endswith("/squares")}
    kinds = {}
    for kind in dict.fromkeys(n.rpartition("/")[0] for n in tensors if not n.endswith("/squares")):
        found: dict[str, Any] = {f.name: tensors.get(f"{kind}/{f.name}") for f in fields(LayerBasis)}
        missing = [f.name for f in fields(LayerBasis) if f.default is MISSING and found[f.name] is None]
        if missing:
            raise ValueError(f"{kind or 'it'} lacks {', '.join(missing)}")
        kinds[kind] = b = LayerBasis(**found)
        for side, Q, energy in (("U", b.U, b.U_energy), ("V", b.V, b.V_energy)):
            if Q.shape[1] > len(Q) or len(energy) != Q.shape[1]:
                raise ValueError(
                    f"{side} of {kind} has {Q.shape[1]} columns of {len(Q)} numbers "
                    f"and {len(energy)} energies"
                )
        if b.energy is not None and b.energy.shape != b.rank:
            raise ValueError(f"the energy of {kind} is not {b.rank[0]} x {b.rank[1]}")
    if not kinds and not squares:
        raise ValueError("it holds no tensors")
    return Basis(kinds, dict(made_from), squares)
