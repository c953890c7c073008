"""The orthogonal basis of the gradients of a model: one pair (U, V) for each kind of MLP linear.

`W` has torch's layout, `O x I`. `V` (`O x O`) and `U` (`I x I`) are orthogonal:

    G~ = V^T G U        G = V G~ U^T        (paper, section 3)

A truncated basis holds the leading columns alone, `V: O x r` and `U: I x c`. Then `G~` is the leading corner,
`r x c`, and `V G~ U^T` the part of `G` that the basis keeps.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .targets import find_mlp_linears

# arithmetic of products with U and V on CUDA; a CPU knows IEEE alone
Precision = Literal["ieee", "tf32", "bf16"]

TALL = 8  # rows a column of a product from which a CPU is faster, up to 15 times, at its transpose
SPARSE_PAYS = 8  # a sparse product is taken where fewer than one entry in so many is not zero


class BasisMismatchError(ValueError):
    """The basis was made for a model of other kinds or shapes."""


@dataclass(frozen=True)
class LayerBasis:
    """The basis of one kind of MLP linear; columns of `U` and `V` are sorted by energy, descending."""

    U: Tensor  # I x c; c is I, or less in a truncated basis
    V: Tensor  # O x r
    U_energy: Tensor  # c: share of the gradients' whole energy along each column of U; in sum, what U keeps
    V_energy: Tensor  # r
    # of gradients that the basis has not seen, where they were measured
    energy: Tensor | None = None  # r x c: share in each entry of `G~`
    concentration: Tensor | None = None  # 2: share in the largest 1% of entries, of `G` and of `G~`

    @property
    def shape(self) -> tuple[int, int]:
        """`(O, I)`, the shape of the weights that it fits."""
        return self.V.shape[0], self.U.shape[0]

    @property
    def rank(self) -> tuple[int, int]:
        """`(r, c)`, the shape of `G~`."""
        return self.V.shape[1], self.U.shape[1]

    @property
    def is_truncated(self) -> bool:
        """Whether some of a matrix is lost on the way to the basis and back."""
        return self.rank != self.shape

    def to_basis(self, G: Tensor) -> Tensor:
        """Returns `V^T G U`, `r x c`, for `G` of shape `O x I`, in the basis's dtype."""
        return product(self.V.T, G.to(self.V.dtype), self.U)


@dataclass(frozen=True)
class Basis:
    """What a calibration found out about the MLP gradients of a model."""

    kinds: Mapping[str, LayerBasis]  # by kind of MLP linear; empty where only `squares` were measured
    made_from: Mapping[str, str] = field(default_factory=dict)  # a record
    # mean squared gradients in the original space, `O x I`, by the name of the layer
    squares: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def random(
        cls, model: nn.Module, seed: int, blocks: Collection[int] | None = None, rank: int | None = None
    ) -> Basis:
        """Returns a basis whose directions are drawn uniformly: the control for a calibrated one.

        A `seed` gives the same on every device; `rank` truncates `V` and `U` to so many columns, at most.
        """
        generator = torch.Generator().manual_seed(seed)

        def directions(n: int, like: Tensor) -> Tensor:
            dtype = torch.promote_types(like.dtype, torch.float32)
            Q, R = torch.linalg.qr(torch.randn(n, min(n, rank or n), generator=generator, dtype=dtype))
            return (Q * R.diagonal().sign()).to(like.device)  # the signs make it uniform

        kinds = {}
        for kind, W in {each.kind: each.linear.weight for each in find_mlp_linears(model, blocks)}.items():
            U, V = directions(W.shape[1], W), directions(W.shape[0], W)
            kinds[kind] = LayerBasis(U, V, *(Q.new_full((Q.shape[1],), 1 / len(Q)) for Q in (U, V)))
        return cls(kinds, {"source": "random", "seed": str(seed)})

    @property
    def is_truncated(self) -> bool:
        """Whether directions are left out of any kind."""
        return any(kind.is_truncated for kind in self.kinds.values())

    def check_fits(self, model: nn.Module, blocks: Collection[int] | None = None) -> None:
        """Check that every MLP linear of `model`, in these `blocks`, is of a kind and shape that this is for.

        Raises:
            BasisMismatchError: one is not; the message names the layer, both shapes and the basis's origin.
            UnsupportedModelError: the model has no known MLP linears.
        """
        origin = f"the basis was made from {self.made_from.get('model', 'another model')}"
        kinds = {kind: basis.shape for kind, basis in self.kinds.items()}
        layers = {name: tuple(squares.shape) for name, squares in self.squares.items()}
        for place in find_mlp_linears(model, blocks):
            O, I = place.linear.weight.shape
            for what, known in ((place.kind, kinds), (place.name, layers)):
                if known and what not in known:
                    there = f" for {', '.join(sorted(kinds))}" if known is kinds else ""
                    raise BasisMismatchError(f"{origin}{there}, which has no {what} (at {place.name})")
                if known and known[what] != (O, I):
                    raise BasisMismatchError(
                        f"{origin}, where {what} is {known[what][0]} x {known[what][1]}; "
                        f"in this model it is {O} x {I} (at {place.name})"
                    )


@functools.lru_cache(maxsize=1024)
def cheapest_order(sizes: tuple[float, ...]) -> tuple[float, tuple[int, ...]]:
    """Returns the fewest multiplications of a chain of matrices, `n0 x n1` to `n(m-1) x nm`, and their order.

    The order is, at each turn, the position of the first of the two neighbours to multiply.
    """
    if len(sizes) < 3:
        return 0, ()
    choices = []
    for i in range(len(sizes) - 2):
        rest, order = cheapest_order(sizes[: i + 1] + sizes[i + 2 :])
        choices.append((sizes[i] * sizes[i + 1] * sizes[i + 2] + rest, (i, *order)))
    return min(choices)


def product(*factors: Tensor, precision: Precision = "ieee") -> Tensor:
    """Returns the product of a chain of matrices, in the order that takes the fewest operations.

    At most one may be a batch, `L x m x n`. Of two factors of different types the narrower decides, as beside
    bfloat16 activations; the last product is in float32 at least, so that its entries can be told apart.
    """
    parts = list(factors)
    sizes = (parts[0].shape[-2], *(part.shape[-1] for part in parts))
    with matmul_precision(parts[0].device, precision):
        for i in cheapest_order(sizes)[1]:
            parts[i : i + 2] = [_times(parts[i], parts[i + 1], precision, len(parts) == 2)]
    return parts[0]


def _times(A: Tensor, B: Tensor, precision: Precision, last: bool) -> Tensor:
    dtype = min(A.dtype, B.dtype, key=lambda t: t.itemsize)
    if precision == "bf16" and A.is_cuda and dtype == torch.float32:
        dtype = torch.bfloat16
    wide = torch.promote_types(dtype, torch.float32) if last else dtype
    out: dict[str, Any] = {}
    if wide != dtype and A.is_cuda:  # which alone sums bfloat16 into float32
        out["out_dtype"] = wide
    else:
        dtype = wide
    A, B = A.to(dtype), B.to(dtype)
    if A.dim() == 3:
        return torch.mm(A.reshape(-1, A.shape[-1]), B, **out).view(*A.shape[:2], B.shape[-1])
    if not A.is_cuda and len(A) > TALL * B.shape[-1]:
        result = torch.mm(B.mT.reshape(-1, B.shape[-2]), A.T, **out)
        return result.view(*B.shape[:-2], B.shape[-1], len(A)).mT
    if B.dim() == 3 and len(B) > 1:
        return torch.bmm(A.expand(len(B), *A.shape), B, **out)
    return torch.mm(A, B, **out) if B.dim() == 2 else torch.mm(A, B[0], **out)[None]


@contextmanager
def matmul_precision(device: torch.device, precision: Precision) -> Iterator[None]:
    """Float32 products on CUDA are taken in TF32 inside, or in IEEE; autocast is off."""
    flags = torch.backends.cuda.matmul
    before, flags.fp32_precision = flags.fp32_precision, "ieee" if precision == "ieee" else "tf32"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        flags.fp32_precision = before


@torch.no_grad()
def add_update(
    weights: Sequence[Tensor],
    values: Tensor,
    entries: Tensor | None,
    U: Tensor | None,
    V: Tensor | None,
    precision: Precision = "ieee",
) -> None:
    """Add `V S_l U^T` to each of L weights, in place, where `S_l` is zero but for its `values` (L x k).

    Args:
        entries: int64, L x k, flat positions in `S_l`, none twice in a row; None: all of them in order.
        U, V: `I x c` and `O x r`; None: the original space, where `S_l` is added itself.
    """
    if U is None or V is None:
        for row, (weight, own) in enumerate(zip(weights, values, strict=True)):
            if entries is None:
                weight.add_(own.view_as(weight))
            else:
                weight.view(-1).scatter_add_(0, entries[row], own.to(weight.dtype))
        return
    r, c, values = V.shape[1], U.shape[1], values.to(V.dtype)
    factors: Iterable[tuple[Tensor, Tensor]]
    if entries is not None and not values.is_cuda and SPARSE_PAYS * values.shape[1] < r * c:
        factors = (_sparse_factors(*row, U, V) for row in zip(entries, values, strict=True))
    else:
        S = dense(values, entries, r * c).view(-1, r, c)
        if cheapest_order((V.shape[0], r, c, U.shape[0]))[1][0] == 0:
            factors = ((left, U.T) for left in product(V, S, precision=precision))
        else:
            factors = ((V, right) for right in product(S, U.T, precision=precision))
    for weight, (left, right) in zip(weights, factors, strict=True):
        if weight.dtype == left.dtype == right.dtype and not (precision == "bf16" and left.is_cuda):
            with matmul_precision(weight.device, precision):
                weight.addmm_(left, right)
        else:
            weight.add_(product(left, right, precision=precision))


def dense(values: Tensor, entries: Tensor | None, size: int) -> Tensor:
    """Returns `L x size` with `values` (L x k) at the flat positions `entries` and zeros elsewhere."""
    if entries is None:
        return values
    return values.new_zeros(len(values), size).scatter_(1, entries, values)


def _sparse_factors(entries: Tensor, values: Tensor, U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Returns factors of `V S U^T`, `O x n` and `n x I`, where `S` holds k `values` at the flat `entries`.

    The largest entries crowd into few columns and few rows. The fullest m columns are taken whole, the other
    entries by their rows: of all m, n is least where `m + rows left` is.

        V S U^T = (V S_columns) U_columns^T + V_rows (S_rows U^T)
    """
    r, c = V.shape[1], U.shape[1]
    rows, columns = entries // c, entries % c
    fullest = _counts(columns, c).argsort(descending=True)
    place = _inverse(fullest, c)[columns]
    last = rows.new_zeros(r).scatter_reduce_(0, rows, place + 1, "amax")  # columns that a row needs
    left = r - _counts(last, c + 1).cumsum(0)  # rows that need more than m of them, for each m
    m = int((left + torch.arange(c + 1)).argmin())
    of_column, of_row = place < m, place >= m
    V_part = _sparse_dense(place[of_column], rows[of_column], values[of_column], m, V.T)
    its_rows = last.topk(int(left[m])).indices
    place = _inverse(its_rows, r)[rows[of_row]]
    U_part = _sparse_dense(place, columns[of_row], values[of_row], len(its_rows), U.T)
    return torch.cat([V_part, V.T[its_rows]]).T, torch.cat([U.T[fullest[:m]], U_part])


def _counts(numbers: Tensor, size: int) -> Tensor:
    """Returns how often each number below `size` occurs, as `bincount`, but on fake tensors too."""
    return numbers.new_zeros(size).scatter_add_(0, numbers, torch.ones_like(numbers))


def _inverse(numbers: Tensor, size: int) -> Tensor:
    """Returns at which position each number below `size` stands; 0 for one that does not occur."""
    return numbers.new_zeros(size).scatter_(0, numbers, torch.arange(len(numbers)))


def _sparse_dense(rows: Tensor, columns: Tensor, values: Tensor, height: int, D: Tensor) -> Tensor:
    """Returns `S D` where `S` (`height x len(D)`) holds `values` at (`rows`, `columns`).

    Each row of it is a weighted bag of rows of `D`. Summing bags is twice as fast on a CPU as the product
    with a torch COO tensor, and deterministic.
    """
    order = (rows * len(D) + columns).argsort()
    rows = rows[order]
    starts = torch.searchsorted(rows, torch.arange(height, device=rows.device))
    return F.embedding_bag(columns[order], D, starts, mode="sum", per_sample_weights=values[order])
