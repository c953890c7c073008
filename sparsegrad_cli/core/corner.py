"""The corner of the new space that confined layers train, and which of its entries.

block   the leading block that holds most of the gradients' energy in k entries; all of it
fixed   the k entries of highest mean energy among the leading columns
whole   every entry of a truncated basis; the optimizer chooses some at each step (the form "corner")
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .basis import KindBasis
from .selection import leading_block, top_entries

SPREAD = 4  # c is at most so many times kept / r: it is what backward costs and forward keeps

ConfinedSupport = Literal["fixed", "block"]


class Corner(nn.Module):
    """`U_c`, `V_r` and the places of the trained entries of one kind, shared by the layers of every block.

    Args:
        basis: its leading directions are copied.
        r, c: how many of V and U; None: all that the basis has.
        entries: flat positions in r x c that are trained; None: all of them.
    """

    U: Tensor  # I x c
    V: Tensor  # O x r
    entries: Tensor | None  # (k,)

    def __init__(
        self, basis: KindBasis, r: int | None = None, c: int | None = None, entries: Tensor | None = None
    ) -> None:
        super().__init__()
        fresh = torch.contiguous_format  # so that a basis from a file gives the last bit of one just made
        self.register_buffer("U", basis.U[:, :c].clone(memory_format=fresh), persistent=False)
        self.register_buffer("V", basis.V[:, :r].clone(memory_format=fresh), persistent=False)
        self.register_buffer("entries", entries, persistent=False)

    @property
    def shape(self) -> tuple[int, int]:
        """`(r, c)`."""
        return self.V.shape[1], self.U.shape[1]

    @property
    def kept(self) -> int:
        """Number of trained entries."""
        return math.prod(self.shape) if self.entries is None else len(self.entries)

    def matrix(self, values: Tensor) -> Tensor:
        """The `r x c` matrix that holds `values`, shape (kept,), and zeros."""
        if self.entries is None:
            return values.view(self.shape)
        zeros = values.new_zeros(math.prod(self.shape))
        return zeros.index_copy_(0, self.entries, values).view(self.shape)

    def beside(self, xU: Tensor, values: Tensor) -> Tensor:
        """`(x U_c) S^T V_r^T`: ... x O, from `x U_c`: ... x c."""
        S = self.matrix(values)
        if self._token_first(xU.numel() // xU.shape[-1]):
            return F.linear(F.linear(xU, S.to(xU.dtype)), self.V.to(xU.dtype))
        with torch.autocast(xU.device.type, enabled=False):  # V S is float32, as it is in backward
            left = self.V @ S.to(self.V.dtype)  # O x c
        return F.linear(xU, left.to(xU.dtype))

    def gradients(self, dY: Tensor, xU: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The gradient of `values` from `dY` (tokens x O) and `x U_c` (tokens x c).

        Args:
            values: given if they have their effect beside W; the second gradient is that of x along that
                path, tokens x I, else None.
        """
        S = None if values is None else self.matrix(values)
        if self._token_first(len(dY)):
            dYV = dY @ self.V.to(dY.dtype)  # tokens x r
            dS = dYV.T @ xU
            dxU = None if S is None else dYV @ S.to(dY.dtype)  # tokens x c
        else:
            dS = self.V.to(dY.dtype).T @ (dY.T @ xU)
            dxU = None if S is None else dY @ (self.V @ S.to(self.V.dtype)).to(dY.dtype)
        dS = dS.flatten() if self.entries is None else dS.flatten()[self.entries]
        return dS, None if dxU is None else dxU @ self.U.T.to(dY.dtype)

    def _token_first(self, tokens: int) -> bool:
        """Whether to multiply tokens by V costs less than V by what is `O x c`."""
        (O, r), c = self.V.shape, self.U.shape[1]
        return tokens * r * (O + c) <= O * c * (tokens + r)


def confined_corner(basis: KindBasis, support: ConfinedSupport, kept: int) -> Corner:
    """The corner of a support that is chosen once; see the module's head.

    Args:
        basis: with energy.
        kept: entries to train in each matrix; a block may hold a few less.

    Raises:
        ValueError: the basis holds no energies.
    """
    if basis.energy is None:
        raise ValueError("the basis holds no energies: calibrate with probe_steps above 0")
    r, c = basis.rank
    c = min(c, math.ceil(SPREAD * kept / r))
    if support == "block":
        return Corner(basis, *leading_block(basis.energy[:, :c], kept))
    return Corner(basis, r, c, top_entries(basis.energy[:, :c], kept).sort().values)
