"""The orthogonal basis of the gradients: one pair of rotations for each kind of MLP linear.

`W` is torch's layout, `O x I`. `V` (`O x O`) and `U` (`I x I`) carry a matrix to the new space and back:

    G~ = V^T G U        G = V G~ U^T        (paper, section 3)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .linears import find_mlp_linears


class BasisMismatchError(ValueError):
    """The basis was made for a model of other kinds or shapes."""


class Rotation(nn.Module):
    """`U` and `V` of one kind, held once and shared by the layers of every block.

    They are buffers, so that they follow the model to its device, but stay out of its `state_dict`.
    """

    U: Tensor  # I x I, columns are directions
    V: Tensor  # O x O

    def __init__(self, U: Tensor, V: Tensor) -> None:
        super().__init__()
        self.register_buffer("U", U, persistent=False)
        self.register_buffer("V", V, persistent=False)

    def to_basis(self, G: Tensor) -> Tensor:
        """`V^T G U` for `G` of shape `O x I`, in the rotation's dtype."""
        return self.V.T @ G.to(self.V.dtype) @ self.U

    def from_basis(self, S: Tensor) -> Tensor:
        """`V S U^T` for `S` of shape `O x I`, in the rotation's dtype."""
        return self.V @ S.to(self.V.dtype) @ self.U.T

    def from_basis_sparse(self, entries: Tensor, values: Tensor) -> Tensor:
        """`V S U^T` where `S` (`O x I`) is zero but for `values` at the flat positions `entries`.

        The sparse product is taken with the larger of the two rotations: `k * max(O, I)` operations
        in place of `O * I * max(O, I)`.

        Args:
            entries: int64, shape (k,), positions in the flattened `O x I` matrix, none twice.
            values: shape (k,).
        """
        O, I = self.V.shape[0], self.U.shape[0]
        rows, columns = entries // I, entries % I
        values = values.to(self.V.dtype)
        if O >= I:
            return _sparse_mm(columns, rows, values, I, self.V.T).T @ self.U.T
        return self.V @ _sparse_mm(rows, columns, values, O, self.U.T)

    def project(self, dY: Tensor, X: Tensor) -> Tensor:
        """`V^T (dY^T X) U`, the weight gradient in the new space, by the cheaper order of products.

        Args:
            dY: gradient of the output, shape (tokens, O).
            X: input, shape (tokens, I).
        """
        T, O, I = dY.shape[0], self.V.shape[0], self.U.shape[0]
        rotate_tokens_first = T * (O * O + I * I) < O * O * I + O * I * I
        if rotate_tokens_first:
            return (dY.to(self.V.dtype) @ self.V).T @ (X.to(self.U.dtype) @ self.U)
        return self.to_basis(dY.T @ X)


def _sparse_mm(rows: Tensor, columns: Tensor, values: Tensor, height: int, dense: Tensor) -> Tensor:
    """`S D` where `S` (`height x len(D)`) holds `values` at (`rows`, `columns`)."""
    shape = (height, dense.shape[0])
    S = torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
    return torch.sparse.mm(S, dense.contiguous())  # twenty times slower on a transposed view


@dataclass(frozen=True)
class KindBasis:
    """The basis of one kind of MLP linear; columns of `U` and `V` are sorted by energy, descending."""

    U: Tensor  # I x I
    V: Tensor  # O x O
    U_energy: Tensor  # I: share of the gradients' energy along each column of U; sums to 1
    V_energy: Tensor  # O

    @property
    def shape(self) -> tuple[int, int]:
        """`(O, I)`, the shape of the weights that it fits."""
        return self.V.shape[0], self.U.shape[0]


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
            f"{kind}/{name}": getattr(basis, name)
            for kind, basis in self.kinds.items()
            for name in KindBasis.__dataclass_fields__
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], made_from: Mapping[str, str]) -> Basis:
        """The inverse of `tensors`.

        Raises:
            ValueError: a kind lacks one of its tensors, or their shapes disagree.
        """
        kinds = {}
        for kind in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
            missing = [name for name in KindBasis.__dataclass_fields__ if f"{kind}/{name}" not in tensors]
            if missing:
                raise ValueError(f"not a basis: {kind or 'it'} lacks {', '.join(missing)}")
            basis = KindBasis(**{name: tensors[f"{kind}/{name}"] for name in KindBasis.__dataclass_fields__})
            O, I = basis.shape
            if basis.U.shape != (I, I) or basis.V.shape != (O, O):
                raise ValueError(f"not a basis: U and V of {kind} are not square")
            kinds[kind] = basis
        if not kinds:
            raise ValueError("not a basis: it holds no tensors")
        return cls(kinds, dict(made_from))
