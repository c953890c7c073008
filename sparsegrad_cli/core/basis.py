"""The orthogonal basis of the gradients: one pair of rotations for each kind of MLP linear.

`W` is torch's layout, `O x I`. `V` (`O x O`) and `U` (`I x I`) carry a matrix to the new space and back:

    G~ = V^T G U        G = V G~ U^T        (paper, section 3)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linears import find_mlp_linears


class BasisMismatchError(ValueError):
    """The basis was made for a model of other kinds or shapes."""


class Rotation(nn.Module):
    """`U` and `V` of one kind, held once and shared by the layers of every block.

    They are buffers, so that they follow the model to its device, but stay out of its `state_dict`.
    """

    U: Tensor  # I x I, columns are directions, each contiguous in memory
    V: Tensor  # O x O

    def __init__(self, U: Tensor, V: Tensor) -> None:
        super().__init__()
        self.register_buffer("U", U.T.contiguous().T, persistent=False)
        self.register_buffer("V", V.T.contiguous().T, persistent=False)

    def to_basis(self, G: Tensor) -> Tensor:
        """`V^T G U` for `G` of shape `O x I`, in the rotation's dtype."""
        return self.V.T @ G.to(self.V.dtype) @ self.U

    def from_basis(self, S: Tensor) -> Tensor:
        """`V S U^T` for `S` of shape `O x I`, in the rotation's dtype."""
        return self.V @ S.to(self.V.dtype) @ self.U.T

    def project(self, dY: Tensor, X: Tensor) -> Tensor:
        """`V^T (dY^T X) U`, the weight gradient in the new space, by the cheapest order of products.

        The products are taken in the precision that `dY` has, which is that of the layer's own.

        Args:
            dY: gradient of the output, shape (tokens, O).
            X: input, shape (tokens, I).
        """
        T, O, I = dY.shape[0], self.V.shape[0], self.U.shape[0]
        U, V, X = self.U.to(dY.dtype), self.V.to(dY.dtype), X.to(dY.dtype)
        dY = dY @ V if T < I else dY  # T * O * O operations, against O * O * I after the sum over tokens
        X = X @ U if T < O else X  # T * I * I, against O * I * I
        G = dY.T @ X  # O x I
        G = G if T < O else G @ U
        return G if T < I else V.T @ G

    @torch.no_grad()
    def add_update(self, W: Tensor, entries: Tensor, values: Tensor) -> None:
        """`W += V S U^T` where `S` (`O x I`) is zero but for `values` at the flat positions `entries`.

        The sparse product is taken with the larger of the two rotations: `k * max(O, I)` operations
        in place of `O * I * max(O, I)`.

        Args:
            W: shape `O x I`, changed in place.
            entries: int64, shape (k,), positions in the flattened `O x I` matrix, none twice.
            values: shape (k,).
        """
        O, I = W.shape
        values = values.to(self.V.dtype)
        if O >= I:
            S_V = _sparse_dense(entries % I, entries // I, values, I, self.V.T)  # S^T V^T, I x O
            left, right = S_V.T, self.U.T
        else:
            left, right = self.V, _sparse_dense(entries // I, entries % I, values, O, self.U.T)  # S U^T
        if W.dtype == left.dtype:
            W.addmm_(left, right)
        else:
            W.add_(left @ right)


def _sparse_dense(rows: Tensor, columns: Tensor, values: Tensor, height: int, D: Tensor) -> Tensor:
    """`S D` where `S` (`height x len(D)`) holds `values` at (`rows`, `columns`).

    Each row of it is a weighted bag of rows of `D`. Summing bags is twice as fast on a CPU as the product
    with a torch COO tensor, and deterministic.
    """
    order = (rows * len(D) + columns).argsort()
    rows = rows[order]
    starts = torch.searchsorted(rows, torch.arange(height, device=rows.device))
    return F.embedding_bag(columns[order], D, starts, mode="sum", per_sample_weights=values[order])


@dataclass(frozen=True)
class KindBasis:
    """The basis of one kind of MLP linear; columns of `U` and `V` are sorted by energy, descending."""

    U: Tensor  # I x I
    V: Tensor  # O x O
    U_energy: Tensor  # I: share of the gradients' energy along each column of U; sums to 1
    V_energy: Tensor  # O
    energy: Tensor | None = None  # O x I: share in each entry of unseen `G~`, where it was measured

    @property
    def shape(self) -> tuple[int, int]:
        """`(O, I)`, the shape of the weights that it fits."""
        return self.V.shape[0], self.U.shape[0]

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
    def identity(cls, model: nn.Module) -> Basis:
        """The basis that changes nothing: SparseGrad in it is MeProp."""
        kinds = {}
        for place in find_mlp_linears(model):
            O, I = place.linear.weight.shape
            like = {"dtype": place.linear.weight.dtype, "device": place.linear.weight.device}
            kinds[place.kind] = KindBasis(
                U=torch.eye(I, **like),
                V=torch.eye(O, **like),
                U_energy=torch.full((I,), 1 / I, **like),
                V_energy=torch.full((O,), 1 / O, **like),
            )
        return cls(kinds, {"source": "identity"})

    def check_fits(self, model: nn.Module) -> None:
        """Checks that every MLP linear of `model` has a kind and shape that this basis was made for.

        Raises:
            BasisMismatchError: one has not; the message names the layer, both shapes and the basis's origin.
            UnsupportedModelError: the model has no known MLP linears.
        """
        origin = self.made_from.get("model", "another model")
        for place in find_mlp_linears(model):
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
            O, I = basis.shape
            if basis.U.shape != (I, I) or basis.V.shape != (O, O):
                raise ValueError(f"not a basis: U and V of {kind} are not square")
            if basis.energy is not None and basis.energy.shape != (O, I):
                raise ValueError(f"not a basis: the energy of {kind} is not {O} x {I}")
            kinds[kind] = basis
        if not kinds:
            raise ValueError("not a basis: it holds no tensors")
        return cls(kinds, dict(made_from))
