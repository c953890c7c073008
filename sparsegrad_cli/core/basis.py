"""The orthogonal basis of the gradients of a model: one pair of rotations for each kind of MLP linear."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .linears import find_mlp_linears


class BasisMismatchError(ValueError):
    """The basis was made for a model of other kinds or shapes."""


class EnergyKept(NamedTuple):
    """Shares of the gradients' energy that a truncated basis keeps."""

    V: float  # of the calibration's gradients, by V alone
    U: float  # by U alone
    both: float | None  # of unseen gradients, by the two; None where it was not measured


@dataclass(frozen=True)
class KindBasis:
    """The basis of one kind of MLP linear; columns of `U` and `V` are sorted by energy, descending.

    The shares are of the whole energy: they sum to 1, or in a truncated basis to what it keeps.
    """

    U: Tensor  # I x c; c is I, or less in a truncated basis
    V: Tensor  # O x r
    U_energy: Tensor  # c: share of the gradients' energy along each column of U
    V_energy: Tensor  # r
    energy: Tensor | None = None  # r x c: share in each entry of unseen `G~`, where it was measured

    @property
    def shape(self) -> tuple[int, int]:
        """`(O, I)`, the shape of the weights that it fits."""
        return self.V.shape[0], self.U.shape[0]

    @property
    def rank(self) -> tuple[int, int]:
        """`(r, c)`, the shape of `G~`."""
        return self.V.shape[1], self.U.shape[1]

    @property
    def energy_kept(self) -> EnergyKept:
        """How much of the gradients the basis keeps; all 1, to rounding, where it is not truncated."""
        shares = (self.V_energy, self.U_energy, self.energy)
        sums = [None if t is None else t.double().sum().item() for t in shares]
        return EnergyKept(*sums)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


@dataclass(frozen=True)
class Basis:
    """A basis for every kind of MLP linear of a model, with a record of what it was made from."""

    kinds: Mapping[str, KindBasis]
    made_from: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def identity(cls, model: nn.Module, blocks: Collection[int] | None = None) -> Basis:
        """The basis that changes nothing, for `blocks` or all: SparseGrad in it is MeProp."""
        kinds = {}
        for place in find_mlp_linears(model, blocks):
            O, I = place.linear.weight.shape
            like = {"dtype": place.linear.weight.dtype, "device": place.linear.weight.device}
            kinds[place.kind] = KindBasis(
                U=torch.eye(I, **like),
                V=torch.eye(O, **like),
                U_energy=torch.full((I,), 1 / I, **like),
                V_energy=torch.full((O,), 1 / O, **like),
            )
        return cls(kinds, {"source": "identity"})

    @property
    def is_truncated(self) -> bool:
        """Whether directions are left out of any kind."""
        return any(kind.rank != kind.shape for kind in self.kinds.values())

    def check_fits(self, model: nn.Module, blocks: Collection[int] | None = None) -> None:
        """Checks that every MLP linear of `model` has a kind and shape that this basis was made for.

        Args:
            blocks: numbers of the blocks to look at; None: all.

        Raises:
            BasisMismatchError: one has not; the message names the layer, both shapes and the basis's origin.
            UnsupportedModelError: the model has no known MLP linears.
        """
        origin = self.made_from.get("model", "another model")
        for place in find_mlp_linears(model, blocks):
            if place.kind not in self.kinds:
                raise BasisMismatchError(
                    f"the basis was made from {origin} for {', '.join(sorted(self.kinds))}, "
                    f"but this model has {place.kind} (at {place.name})"
                )
            shape = self.kinds[place.kind].shape
            if shape != tuple(place.linear.weight.shape):
                O, I = place.linear.weight.shape
                raise BasisMismatchError(
                    f"the basis was made from {origin}, where {place.kind} is {shape[0]} x {shape[1]}; "
                    f"in this model it is {O} x {I} (at {place.name})"
                )

    def tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors, `<kind>/U` and so on, for saving."""
        return {
            f"{kind}/{name}": t for kind, basis in self.kinds.items() for name, t in basis.tensors().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], made_from: Mapping[str, str]) -> Basis:
        """The inverse of `tensors`.

        Raises:
            ValueError: a kind lacks one of its tensors, or their shapes disagree.
        """
        kinds = {}
        for kind in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
            found = {f.name: tensors.get(f"{kind}/{f.name}") for f in fields(KindBasis)}
            missing = [name for name, tensor in found.items() if tensor is None and name != "energy"]
            if missing:
                raise ValueError(f"not a basis: {kind or 'it'} lacks {', '.join(missing)}")
            basis = KindBasis(**found)
            for side in ("U", "V"):
                dimensions, directions = found[side].shape
                if directions > dimensions or len(found[f"{side}_energy"]) != directions:
                    raise ValueError(
                        f"not a basis: {side} of {kind} has {directions} columns of {dimensions} numbers "
                        f"and {len(found[f'{side}_energy'])} energies"
                    )
            r, c = basis.rank
            if basis.energy is not None and basis.energy.shape != (r, c):
                raise ValueError(f"not a basis: the energy of {kind} is not {r} x {c}")
            kinds[kind] = basis
        if not kinds:
            raise ValueError("not a basis: it holds no tensors")
        return cls(kinds, dict(made_from))
