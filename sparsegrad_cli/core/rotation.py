"""The way of a matrix to the new space and back.

`W` is torch's layout, `O x I`. `V` (`O x O`) and `U` (`I x I`) are orthogonal:

    G~ = V^T G U        G = V G~ U^T        (paper, section 3)

A truncated basis holds the leading columns alone, `V: O x r` and `U: I x c`. Then `G~` is the leading corner,
`r x c`, and `V G~ U^T` the part of `G` that it keeps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rotation(nn.Module):
    """`U` and `V` of one kind of MLP linear, held once and shared by the layers of every block.

    They are buffers, so that they follow the model to its device, but stay out of its `state_dict`.
    """

    U: Tensor  # I x c, columns are directions, each contiguous in memory
    V: Tensor  # O x r

    def __init__(self, U: Tensor, V: Tensor) -> None:
        super().__init__()
        self.register_buffer("U", U.T.contiguous().T, persistent=False)
        self.register_buffer("V", V.T.contiguous().T, persistent=False)

    @property
    def rank(self) -> tuple[int, int]:
        """`(r, c)`, the shape of `G~`."""
        return self.V.shape[1], self.U.shape[1]

    @property
    def is_truncated(self) -> bool:
        """Whether some of a matrix is lost on the way there and back."""
        return self.rank != (self.V.shape[0], self.U.shape[0])

    def to_basis(self, G: Tensor) -> Tensor:
        """`V^T G U`, of shape `r x c`, for `G` of shape `O x I`, in the rotation's dtype."""
        (O, r), (I, c), G = self.V.shape, self.U.shape, G.to(self.V.dtype)
        if r * I * (O + c) <= O * c * (I + r):  # operations
            return self.V.T @ G @ self.U
        return self.V.T @ (G @ self.U)

    def from_basis(self, S: Tensor) -> Tensor:
        """`V S U^T`, of shape `O x I`, for `S` of shape `r x c`, in the rotation's dtype."""
        return self.V @ S.to(self.V.dtype) @ self.U.T

    def project(self, dY: Tensor, X: Tensor) -> Tensor:
        """`V^T (dY^T X) U`, the weight gradient in the new space, by the cheapest order of products.

        The products are taken in the precision that `dY` has, which is that of the layer's own.

        Args:
            dY: gradient of the output, shape (tokens, O).
            X: input, shape (tokens, I).
        """
        V_first, U_first = self._before_the_sum(len(dY))
        U, V, X = self.U.to(dY.dtype), self.V.to(dY.dtype), X.to(dY.dtype)
        dY = dY @ V if V_first else dY
        X = X @ U if U_first else X
        G = dY.T @ X
        G = G if U_first else G @ U
        return G if V_first else V.T @ G

    def _before_the_sum(self, T: int) -> tuple[bool, bool]:
        """Whether `V`, and whether `U`, is cheaper multiplied in before the sum over tokens than after."""
        (O, r), (I, c) = self.V.shape, self.U.shape

        def operations(V_first: bool, U_first: bool) -> int:
            rows, columns = r if V_first else O, c if U_first else I
            before = T * (O * r * V_first + I * c * U_first + rows * columns)
            return before + rows * I * c * (not U_first) + O * r * c * (not V_first)

        choices = [(False, False), (True, False), (False, True), (True, True)]
        return min(choices, key=lambda choice: operations(*choice))

    @torch.no_grad()
    def add_update(self, W: Tensor, entries: Tensor, values: Tensor) -> None:
        """`W += V S U^T` where `S` (`r x c`) is zero but for `values` at the flat positions `entries`.

        The sparse product is taken with the rotation that would cost more in a dense one: `k` of its rows
        are added up, and the dense product with the other remains.

        Args:
            W: shape `O x I`, changed in place.
            entries: int64, shape (k,), positions in the flattened `r x c` matrix, none twice.
            values: shape (k,).
        """
        (O, r), (I, c) = self.V.shape, self.U.shape
        values = values.to(self.V.dtype)
        if (c, O) <= (r, I):
            S_V = _sparse_dense(entries % c, entries // c, values, c, self.V.T)  # S^T V^T, c x O
            left, right = S_V.T, self.U.T
        else:
            left, right = self.V, _sparse_dense(entries // c, entries % c, values, r, self.U.T)  # S U^T
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
