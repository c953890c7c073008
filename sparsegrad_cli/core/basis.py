"""The orthogonal basis of the gradients of a model: one pair (U, V) for each kind of MLP linear.

`W` has torch's layout, `O x I`. `V` (`O x O`) and `U` (`I x I`) are orthogonal:

    G~ = V^T G U        G = V G~ U^T        (paper, section 3)

A truncated basis holds the leading columns alone, `V: O x r` and `U: I x c`. Then `G~` is the leading corner,
`r x c`, and `V G~ U^T` the part of `G` that the basis keeps.

Products of several matrices are taken by `product`, in the order that needs the fewest operations.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

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


class EnergyKept(NamedTuple):
    """Shares of the gradients' energy that a truncated basis keeps."""

    V: float  # of the calibration's gradients, by V alone
    U: float  # by U alone
    both: float | None  # of unseen gradients, by the two; None where it was not measured


@dataclass(frozen=True)
class LayerBasis:
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
    def is_truncated(self) -> bool:
        """Whether some of a matrix is lost on the way to the basis and back."""
        return self.rank != self.shape

    @property
    def energy_kept(self) -> EnergyKept:
        """How much of the gradients the basis keeps; all 1, to rounding, where it is not truncated."""

        def total(shares: Tensor) -> float:
            return shares.double().sum().item()

        both = None if self.energy is None else total(self.energy)
        return EnergyKept(total(self.V_energy), total(self.U_energy), both)

    def to_basis(self, G: Tensor) -> Tensor:
        """Returns `V^T G U`, `r x c`, for `G` of shape `O x I`, in the basis's dtype."""
        return product(self.V.T, G.to(self.V.dtype), self.U)

    def from_basis(self, S: Tensor) -> Tensor:
        """Returns `V S U^T`, `O x I`, for `S` of shape `r x c`, in the basis's dtype."""
        return product(self.V, S.to(self.V.dtype), self.U.T)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the fields that are present, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


@dataclass(frozen=True)
class Basis:
    """What a calibration found out about the MLP gradients of a model.

    Args:
        kinds: a basis for every kind of MLP linear; empty where only `squares` were measured.
        made_from: a record of what it was made from.
        squares: mean squared gradients in the original space, `O x I`, by the name of the layer.
    """

    kinds: Mapping[str, LayerBasis]
    made_from: Mapping[str, str] = field(default_factory=dict)
    squares: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def identity(cls, model: nn.Module, blocks: Collection[int] | None = None) -> Basis:
        """Returns the basis that changes nothing: SparseGrad in it is MeProp."""
        kinds = {}
        for kind, weight in _weight_of_each_kind(model, blocks).items():
            O, I = weight.shape
            U, V = (torch.eye(n, dtype=weight.dtype, device=weight.device) for n in (I, O))
            kinds[kind] = LayerBasis(U, V, U.new_full((I,), 1 / I), V.new_full((O,), 1 / O))
        return cls(kinds, {"source": "identity"})

    @classmethod
    def random(
        cls, model: nn.Module, seed: int, blocks: Collection[int] | None = None, rank: int | None = None
    ) -> Basis:
        """Returns a basis whose directions are drawn uniformly: the control for a calibrated one.

        Args:
            seed: of the draw, which is the same on every device.
            rank: truncates `V` and `U` to so many columns each, at most; None: all.
        """
        generator = torch.Generator().manual_seed(seed)

        def directions(n: int, weight: Tensor) -> Tensor:
            columns = min(n, rank or n)
            dtype = torch.promote_types(weight.dtype, torch.float32)
            drawn = torch.randn(n, columns, generator=generator, dtype=dtype)
            Q, R = torch.linalg.qr(drawn)
            return (Q * R.diagonal().sign()).to(weight.device)  # the signs make it uniform

        kinds = {}
        for kind, weight in _weight_of_each_kind(model, blocks).items():
            O, I = weight.shape
            U, V = directions(I, weight), directions(O, weight)
            shares = [Q.new_full((Q.shape[1],), 1 / Q.shape[0]) for Q in (U, V)]
            kinds[kind] = LayerBasis(U, V, *shares)
        return cls(kinds, {"source": "random", "seed": str(seed)})

    @property
    def is_truncated(self) -> bool:
        """Whether directions are left out of any kind."""
        return any(kind.is_truncated for kind in self.kinds.values())

    def check_fits(self, model: nn.Module, blocks: Collection[int] | None = None) -> None:
        """Check that every MLP linear of `model` has a kind and shape that this basis was made for.

        Args:
            blocks: numbers of the blocks to look at; None: all.

        Raises:
            BasisMismatchError: one has not; the message names the layer, both shapes and the basis's origin.
            UnsupportedModelError: the model has no known MLP linears.
        """
        origin = self.made_from.get("model", "another model")
        for place in find_mlp_linears(model, blocks):
            if self.squares and place.name not in self.squares:
                raise BasisMismatchError(
                    f"the squared gradients were measured on {origin}, which has no {place.name}"
                )
            if self.kinds and place.kind not in self.kinds:
                raise BasisMismatchError(
                    f"the basis was made from {origin} for {', '.join(sorted(self.kinds))}, "
                    f"but this model has {place.kind} (at {place.name})"
                )
            known = self.kinds[place.kind].shape if self.kinds else tuple(self.squares[place.name].shape)
            if known != tuple(place.linear.weight.shape):
                O, I = place.linear.weight.shape
                raise BasisMismatchError(
                    f"the basis was made from {origin}, where {place.kind} is {known[0]} x {known[1]}; "
                    f"in this model it is {O} x {I} (at {place.name})"
                )

    def tensors(self) -> dict[str, Tensor]:
        """Returns flat names to tensors, `<kind>/U` or `<layer>/squares` and so on, for saving."""
        named = {
            f"{kind}/{name}": t for kind, basis in self.kinds.items() for name, t in basis.tensors().items()
        }
        return named | {f"{layer}/squares": t for layer, t in self.squares.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], made_from: Mapping[str, str]) -> Basis:
        """Returns the basis whose `tensors` these are.

        Raises:
            ValueError: a kind lacks one of its tensors, or their shapes disagree.
        """
        squares = {n.removesuffix("/squares"): t for n, t in tensors.items() if n.endswith("/squares")}
        parts = [name for name in tensors if not name.endswith("/squares")]
        kinds = {}
        for kind in dict.fromkeys(name.rpartition("/")[0] for name in parts):
            found = {f.name: tensors.get(f"{kind}/{f.name}") for f in fields(LayerBasis)}
            missing = [name for name, tensor in found.items() if tensor is None and name != "energy"]
            if missing:
                raise ValueError(f"not a basis: {kind or 'it'} lacks {', '.join(missing)}")
            kinds[kind] = _checked(kind, LayerBasis(**found))  # type: ignore[arg-type]
        if not kinds and not squares:
            raise ValueError("not a basis: it holds no tensors")
        return cls(kinds, dict(made_from), squares)


def _checked(kind: str, basis: LayerBasis) -> LayerBasis:
    for side, columns, energy in (("U", basis.U, basis.U_energy), ("V", basis.V, basis.V_energy)):
        dimensions, directions = columns.shape
        if directions > dimensions or len(energy) != directions:
            raise ValueError(
                f"not a basis: {side} of {kind} has {directions} columns of {dimensions} numbers "
                f"and {len(energy)} energies"
            )
    r, c = basis.rank
    if basis.energy is not None and basis.energy.shape != (r, c):
        raise ValueError(f"not a basis: the energy of {kind} is not {r} x {c}")
    return basis


def _weight_of_each_kind(model: nn.Module, blocks: Collection[int] | None) -> dict[str, Tensor]:
    return {place.kind: place.linear.weight for place in find_mlp_linears(model, blocks)}


@functools.lru_cache(maxsize=1024)
def cheapest_order(sizes: tuple[float, ...]) -> tuple[float, tuple[int, ...]]:
    """Returns the fewest multiplications that a chain of products takes, and the order that takes them.

    Args:
        sizes: `(n0, .., nm)` for a chain of m matrices, `n0 x n1` to `n(m-1) x nm`.

    Returns:
        The count, and at each turn the position of the first of the two neighbours to multiply.
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

    Of two factors of different types the narrower decides, as beside bfloat16 activations; the last product
    of a chain is in float32 at least, so that its entries can be told apart.

    Args:
        factors: matrices; at most one of them may be a batch, `L x m x n`.
        precision: of float32 products on CUDA.
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
    if wide != dtype and not A.is_cuda:
        dtype = wide  # only CUDA sums bfloat16 into float32
    A, B = A.to(dtype), B.to(dtype)
    out: dict[str, Any] = {} if wide == dtype else {"out_dtype": wide}
    if A.dim() == 3:
        return torch.mm(A.reshape(-1, A.shape[-1]), B, **out).view(*A.shape[:2], B.shape[-1])
    if len(A) > TALL * B.shape[-1]:
        result = torch.mm(B.mT.reshape(-1, B.shape[-2]), A.T, **out)
        return result.view(*B.shape[:-2], B.shape[-1], len(A)).mT
    if B.dim() == 3:
        if len(B) == 1:
            return torch.mm(A, B[0], **out)[None]
        return torch.bmm(A.expand(len(B), *A.shape), B, **out)
    return torch.mm(A, B, **out)


@contextmanager
def matmul_precision(device: torch.device, precision: Precision) -> Iterator[None]:
    """Float32 products on CUDA are taken in TF32 inside, or in IEEE; autocast is off."""
    with torch.autocast(device.type if device.type != "meta" else "cpu", enabled=False):
        if device.type != "cuda":
            yield
            return
        flags = torch.backends.cuda.matmul
        before, flags.fp32_precision = flags.fp32_precision, "ieee" if precision == "ieee" else "tf32"
        try:
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
    """Add `V S_l U^T` to each of L weights, in place, where `S_l` is zero but for its `values`.

    Args:
        weights: L matrices, `O x I`.
        values: L x k.
        entries: int64, L x k, flat positions in `S_l`, none twice in a row; None: all of them in order.
        U, V: `I x c` and `O x r`; None: the original space, where `S_l` is added itself.
        precision: of products on CUDA.
    """
    if U is None or V is None:
        for weight, own, row in zip(weights, values, _rows(entries, len(weights)), strict=True):
            if row is None:
                weight.add_(own.view_as(weight))
            else:
                weight.view(-1).scatter_add_(0, row, own.to(weight.dtype))
        return
    r, c, values = V.shape[1], U.shape[1], values.to(V.dtype)
    if entries is not None and not values.is_cuda and SPARSE_PAYS * values.shape[1] < r * c:
        for weight, own, row in zip(weights, values, entries, strict=True):
            _add_product(weight, *_sparse_factors(row, own, U, V), precision)
        return
    S = dense(values, entries, r * c).view(-1, r, c)
    first = cheapest_order((V.shape[0], r, c, U.shape[0]))[1][0]
    if first == 0:
        factors = [(left, U.T) for left in product(V, S, precision=precision)]
    else:
        factors = [(V, right) for right in product(S, U.T, precision=precision)]
    for weight, (left, right) in zip(weights, factors, strict=True):
        _add_product(weight, left, right, precision)


def _rows(entries: Tensor | None, count: int) -> Sequence[Tensor | None]:
    return [None] * count if entries is None else list(entries)


def _add_product(weight: Tensor, left: Tensor, right: Tensor, precision: Precision) -> None:
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
