"""The confined supports: what is trained is chosen once, by the calibration; backward costs what LoRA's does.

    y      = x W^T + b            W: O x I, frozen but for the folding below
    S      r x c, the leading corner of the new space; the trained vector `values` holds k entries of it
    dS     = V_r^T (dY^T (x U_c))          only x U_c, tokens x c, is kept for backward, not x
    W     += V_r (S - S_folded) U_c^T      before the next forward; any optimizer will do

A step's change is below half a unit in the last place of most bfloat16 weights: folding would lose it.
So weights below float32 stay as they are until the end of training, and S has a path of its own:

    y      = x W^T + b + (x U_c) (V_r S)^T

block   the leading block that holds most of the gradients' energy in k entries; all of it is trained
fixed   the k entries of highest mean energy among the leading columns
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .basis import KindBasis
from .rows import live_rows, pick, put
from .selection import leading_block, top_entries

SPREAD = 4  # c is at most so many times kept / r: it is what backward costs and forward keeps

ConfinedSupport = Literal["fixed", "block"]


class Corner(nn.Module):
    """`U_c`, `V_r` and the trained entries of one kind, held once and shared by the layers of every block.

    Args:
        basis: with energy.
        support: see the module's head.
        kept: entries to train in each matrix; a block may hold a few less.
    """

    U: Tensor  # I x c
    V: Tensor  # O x r
    entries: Tensor | None  # (k,): flat positions in r x c; None: all of them

    def __init__(self, basis: KindBasis, support: ConfinedSupport, kept: int) -> None:
        super().__init__()
        if basis.energy is None:
            raise ValueError("the basis holds no energies: calibrate with probe_steps above 0")
        (r, c), entries = basis.rank, None
        c = min(c, math.ceil(SPREAD * kept / r))
        if support == "block":
            r, c = leading_block(basis.energy[:, :c], kept)
        else:
            entries = top_entries(basis.energy[:, :c], kept).sort().values
        fresh = torch.contiguous_format  # so that a basis from a file gives the last bit of one just made
        self.register_buffer("U", basis.U[:, :c].clone(memory_format=fresh), persistent=False)
        self.register_buffer("V", basis.V[:, :r].clone(memory_format=fresh), persistent=False)
        self.register_buffer("entries", entries, persistent=False)

    @property
    def kept(self) -> int:
        """Number of trained entries."""
        return self.V.shape[1] * self.U.shape[1] if self.entries is None else len(self.entries)

    def matrix(self, values: Tensor) -> Tensor:
        """The `r x c` matrix that holds `values`, shape (kept,), and zeros."""
        r, c = self.V.shape[1], self.U.shape[1]
        if self.entries is None:
            return values.view(r, c)
        return values.new_zeros(r * c).index_copy_(0, self.entries, values).view(r, c)

    def gradient(self, dY: Tensor, xU: Tensor) -> Tensor:
        """The gradient of `values` from `dY` (tokens x O) and `x U_c` (tokens x c)."""
        dS = (self.V.to(dY.dtype).T @ (dY.T @ xU)).flatten()
        return dS if self.entries is None else dS[self.entries]


class ConfinedLinear(nn.Module):
    """Drop-in for `nn.Linear` of which `values`, a vector, is trained.

    Args:
        linear: the layer to take over with its very parameters; its weight is frozen.
        corner: shared with the layers of the same kind.
    """

    def __init__(self, linear: nn.Linear, corner: Corner) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight.requires_grad_(False), linear.bias
        self.corner = corner
        dtype = torch.promote_types(linear.weight.dtype, torch.float32)
        self.values = nn.Parameter(linear.weight.new_zeros(corner.kept, dtype=dtype))
        self.register_buffer(
            "folded", self.values.detach().clone()
        )  # the part of `values` that is in `weight`

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if not self.folds:
            return self._beside(x)
        if self.training or not torch.equal(self.values, self.folded):
            self.fold()
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if torch.is_grad_enabled():
            return _Confined.apply(x, self.values, self.bias, self.weight, self.corner)
        return F.linear(x, self.weight, self.bias)

    @property
    def folds(self) -> bool:
        """Whether `weight` follows `values` in training: it has their precision."""
        return self.weight.dtype == self.values.dtype

    def _beside(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        y = F.linear(x, self.weight, self.bias)
        with torch.autocast(x.device.type, enabled=False):  # S and V_r S are float32
            U, V, S = self.corner.U, self.corner.V, self.corner.matrix(self.values - self.folded)
            left = V @ S.to(V.dtype)  # O x c
            return y + F.linear(x @ U.to(x.dtype), left.to(x.dtype))

    @torch.no_grad()
    def fold(self) -> None:
        """Brings `weight` up to date with `values`."""
        U, V = self.corner.U, self.corner.V
        left = V @ self.corner.matrix(self.values - self.folded).to(V.dtype)  # O x c
        if left.dtype == self.weight.dtype:
            self.weight.addmm_(left, U.T)
        else:
            self.weight.add_(left @ U.T)
        self.folded.copy_(self.values)

    def dense(self) -> nn.Linear:
        """The plain linear that computes the same; it shares this layer's parameters.

        A weight below float32 becomes float32: what was trained is less than its last digit.
        """
        self.weight.data = self.weight.data.to(self.values.dtype)
        self.fold()
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight, linear.bias = self.weight.requires_grad_(), self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, kept={self.corner.kept}"


class _Confined(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, values: Tensor, bias: Tensor | None, weight: Tensor, corner: Corner
    ) -> Tensor:
        ctx.save_for_backward(x @ corner.U.to(x.dtype), weight, values)
        ctx.corner = corner
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dY: Tensor) -> tuple[Tensor | None, ...]:
        xU, weight, values = ctx.saved_tensors
        shape = dY.shape[:-1]
        dY, xU = dY.reshape(-1, dY.shape[-1]), xU.reshape(-1, xU.shape[-1])  # tokens x O, tokens x c
        rows = live_rows(dY)
        dY, xU = pick(dY, rows), pick(xU, rows)
        dx = dvalues = db = None
        if ctx.needs_input_grad[0]:
            dx = put(dY @ weight.to(dY.dtype), rows, shape)
        if ctx.needs_input_grad[1]:
            dvalues = ctx.corner.gradient(dY, xU).to(values.dtype)
        if ctx.needs_input_grad[2]:
            db = dY.sum(0)
        return dx, dvalues, db, None, None
