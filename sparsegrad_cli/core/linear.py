"""SparseGradLinear: a linear layer whose weight gradient comes in a rotated basis.

    y  = x W^T + b                        W: O x I, x: ... x I, y: ... x O
    G~ = V^T (dY^T X) U = (dY V)^T (X U)  the gradient in the new space, nearly sparse

Four forms with the same output, the same input gradient and the same training:

    regular          holds W~ = V^T W U and multiplies y = ((x U) W~^T) V^T + b, as the paper writes it
    sparse-by-dense  the same, but in backward the all-zero rows and columns of dY are dropped
    folded           holds W, so that forward is a plain linear; only the gradient is projected, and the
                     optimizer applies V dS U^T to W
    deferred         a plain linear in backward too; the optimizer projects as well, once for all the backward
                     passes whose gradients were summed

With a truncated basis, folded fills `G~` up with zeros to `O x I`, as a `weight.grad` must be.

In the deferred form `weight.grad` is `G`, in the others `G~`: there any optimizer sees the gradient in the
new space. The first three are the references, two of them as the paper has them; deferred is for gradient
accumulation; for what is fast without it see `streamed` and `confined`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .rotation import Rotation

GradForm = Literal["folded", "deferred", "regular", "sparse-by-dense"]
GRAD_FORMS: tuple[GradForm, ...] = get_args(GradForm)
ORIGINAL_SPACE: tuple[GradForm, ...] = ("folded", "deferred")  # forms that hold W as it is


class SparseGradLinear(nn.Module):
    """Drop-in for `nn.Linear` that is trained in the basis of `rotation`.

    Args:
        linear: the layer to take over, weight `O x I`. Folded and deferred keep its very parameters.
        rotation: `U` (`I x c`) and `V` (`O x r`), shared with the layers of the same kind.
        form: see the module's head.
    """

    def __init__(self, linear: nn.Linear, rotation: Rotation, form: GradForm = "folded") -> None:
        super().__init__()
        if form not in GRAD_FORMS:
            raise ValueError(f"form must be one of {', '.join(GRAD_FORMS)}, got {form!r}")
        if rotation.is_truncated and form not in ORIGINAL_SPACE:
            raise ValueError(
                f"the {form} form holds V^T W U, and with a truncated basis it would lose the rest of W: "
                "take another form, or a basis of full rank"
            )
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.form = form
        self.rotation = rotation
        if self.rotates_updates:
            self.weight = linear.weight  # O x I, original space
        else:
            W = rotation.to_basis(linear.weight.detach()).to(linear.weight.dtype)
            self.weight = nn.Parameter(W, requires_grad=linear.weight.requires_grad)  # O x I, new space
        self.bias = linear.bias

    @property
    def trained(self) -> nn.Parameter:
        """What the optimizer moves."""
        return self.weight

    @property
    def rotates_updates(self) -> bool:
        """Whether an update is found in the basis and applied in the original space."""
        return self.form in ORIGINAL_SPACE

    def forward(self, x: Tensor) -> Tensor:
        """From (..., I) to (..., O)."""
        if self.form == "deferred":
            return F.linear(x, self.weight, self.bias)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        U, V = self.rotation.U, self.rotation.V
        if self.form == "folded":
            return _Folded.apply(x, self.weight, self.bias, self.rotation)
        if self.form == "sparse-by-dense":
            return _SparseByDense.apply(x, self.weight, self.bias, U, V)
        return F.linear(F.linear(F.linear(x, U.T.to(x.dtype)), self.weight), V.to(x.dtype), self.bias)

    @torch.no_grad()
    def dense(self) -> nn.Linear:
        """The plain linear that computes the same; it shares the parameters that are as they were."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = self.weight
        if not self.rotates_updates:
            W = self.rotation.from_basis(self.weight).to(self.weight.dtype)
            linear.weight = nn.Parameter(W, requires_grad=self.weight.requires_grad)
        linear.bias = self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, form={self.form}"


class _Folded(torch.autograd.Function):
    """A plain linear in forward; in backward the weight gradient is projected to the new space."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, rotation: Rotation
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rotation = rotation
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dY: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = dW = db = None
        if ctx.needs_input_grad[0]:
            dx = dY @ weight.to(dY.dtype)  # ... x I
        dY = dY.reshape(-1, dY.shape[-1])  # tokens x O
        if ctx.needs_input_grad[1]:
            dW = ctx.rotation.project(dY, x.reshape(-1, x.shape[-1])).to(weight.dtype)  # r x c
            if ctx.rotation.is_truncated:
                dW = F.pad(dW, (0, weight.shape[1] - dW.shape[1], 0, weight.shape[0] - dW.shape[0]))  # O x I
        if ctx.needs_input_grad[2]:
            db = dY.sum(0)
        return dx, dW, db, None


class _SparseByDense(torch.autograd.Function):
    """The paper's three factors, with its sparse-by-dense products in backward."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, U: Tensor, V: Tensor
    ) -> Tensor:
        xU = x @ U.to(x.dtype)
        ctx.save_for_backward(xU, weight, U, V)
        return F.linear(xU @ weight.to(x.dtype).T, V.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dY: Tensor) -> tuple[Tensor | None, ...]:
        xU, weight, U, V = ctx.saved_tensors
        dx = dW = db = None
        dy = dY.reshape(-1, dY.shape[-1])  # tokens x O
        dyV = sparse_by_dense(dy, V.to(dy.dtype))
        if ctx.needs_input_grad[0]:
            dx = sparse_by_dense(dyV, weight.to(dy.dtype)) @ U.T.to(dy.dtype)
            dx = dx.reshape(*dY.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            dW = sparse_by_dense(dyV.T, xU.reshape(-1, xU.shape[-1])).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            db = dy.sum(0)
        return dx, dW, db, None, None


def sparse_by_dense(A: Tensor, B: Tensor) -> Tensor:
    """`A B` where `A` has many rows and columns that are all zero: they are dropped (paper, section 3.2).

    C = A[rows][:, columns] B[columns], scattered back by rows.

    Args:
        A: shape (m, n).
        B: shape (n, p).
    """
    nonzero = A != 0
    rows, columns = nonzero.any(1).nonzero()[:, 0], nonzero.any(0).nonzero()[:, 0]
    C = A.new_zeros(A.shape[0], B.shape[1])
    C[rows] = A[rows][:, columns] @ B[columns]
    return C
