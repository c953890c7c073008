"""Calibration: the HOSVD of the MLP gradients, without ever stacking them.

The paper stacks the gradients `G_1 .. G_n` (`O x I`) of one kind of linear, over blocks and steps, and takes
the left singular vectors of the stack's unfoldings. The same vectors are the eigenvectors of

    sum G G^T  (O x O)  ->  V            sum G^T G  (I x I)  ->  U

which are summed as the gradients come, so memory does not grow with the number of steps. Where O and I are
thousands, the leading `basis_rank` vectors of each are found sooner than all, and take less room ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from .basis import Basis, LayerBasis
from .targets import MLPLinear, find_mlp_linears
from .topk import top_k

Batch = Mapping[str, Tensor]
LossOf = Callable[[nn.Module, Batch], Tensor]
OnStep = Callable[[int], None]
Use = Callable[[MLPLinear, Tensor], None]  # takes a linear and its gradient, O x I

STRIP = 512  # rows of a running sum that are held as one tensor
SPARE = 4  # the leading `rank` directions are sought among 1/4 more
SETTLED = 1e-4  # of the energy: a round of subspace iteration that finds less than this anew is the last
ROUNDS = 20  # at most
TOP = 0.01  # share of the entries whose energy tells how concentrated a gradient is


def model_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Returns the loss that a Hugging Face model gives for a batch with labels."""
    return model(**batch).loss


def calibrate(
    model: nn.Module,
    batches: Iterable[Batch],
    steps: int = 30,
    probe_steps: int = 4,
    loss_of: LossOf = model_loss,
    on_step: OnStep | None = None,
    blocks: Collection[int] | None = None,
    basis_rank: int | None = None,
) -> Basis:
    """Returns the basis of the MLP gradients of `model` from `steps` batches (paper, section 3).

    No weight is changed. The model is used in the mode (train or eval) that it is in; the gradients of its
    parameters are cleared.

    Args:
        batches: at least `steps + probe_steps` batches on the model's device.
        steps: batches whose gradients make the basis.
        probe_steps: further batches, unseen by the basis, on which the concentration and the energy of each
            entry are measured; without any, the basis serves no fixed or block mask.
        loss_of: from model and batch to a scalar loss.
        on_step: called with the number of batches done.
        blocks: numbers of the blocks whose gradients are used; None: all.
        basis_rank: truncates `V` and `U` to so many columns each, at most; None: all.

    Raises:
        UnsupportedModelError: the model has no known MLP linears.
        ValueError: too few batches, a gradient that is not finite, or a rank below 1.
    """
    if basis_rank is not None and basis_rank < 1:
        raise ValueError(f"basis_rank must be at least 1, got {basis_rank}")
    places = find_mlp_linears(model, blocks)
    weights = {place.kind: place.linear.weight for place in places}
    sums = {kind: (Gram(W.shape[0], W), Gram(W.shape[1], W)) for kind, W in weights.items()}

    def add(place: MLPLinear, G: Tensor) -> None:
        left, right = sums[place.kind]
        G = G.to(left.dtype)
        left.add(G)  # G G^T
        right.add(G.T)  # G^T G

    numbered = _numbered(batches, steps + probe_steps)
    _each_gradient(model, places, islice(numbered, steps), loss_of, on_step, add)
    kinds = {}
    for kind, (left, right) in sums.items():
        (V, V_energy), (U, U_energy) = left.principal(basis_rank), right.principal(basis_rank)
        kinds[kind] = LayerBasis(U, V, U_energy, V_energy)
    if probe_steps == 0:
        return Basis(kinds)
    return _probe(kinds, partial(_each_gradient, model, places, numbered, loss_of, on_step))


def mean_squares(
    model: nn.Module,
    batches: Iterable[Batch],
    steps: int = 30,
    loss_of: LossOf = model_loss,
    on_step: OnStep | None = None,
    blocks: Collection[int] | None = None,
) -> Basis:
    """Returns a basis without directions, for the mask "fixed" in the original space.

    It holds the mean squared gradient of each entry of every MLP matrix; those of two blocks have no neurons
    in common, so each has its own. Arguments and errors as in `calibrate`.
    """
    places = find_mlp_linears(model, blocks)
    squares = {}
    for place in places:
        dtype = torch.promote_types(place.linear.weight.dtype, torch.float32)
        squares[place.name] = torch.zeros_like(place.linear.weight, dtype=dtype)

    def add(place: MLPLinear, G: Tensor) -> None:
        total = squares[place.name]
        total.addcmul_(G.to(total.dtype), G.to(total.dtype), value=1 / steps)

    _each_gradient(model, places, _numbered(batches, steps), loss_of, on_step, add)
    return Basis({}, squares=squares)


def energy_in_top(G: Tensor, whole: Tensor | None = None) -> float:
    """Returns the share of the energy (sum of squares) of `G` in the largest 1% of its entries.

    Both shares are of `whole`, the gradient of which `G` is a part, where it is given.
    """
    whole = G if whole is None else whole
    kept = G.flatten()[top_k(G, max(1, round(TOP * whole.numel())))]
    return (kept.square().sum() / whole.square().sum()).item()


def _probe(kinds: Mapping[str, LayerBasis], each_gradient: Callable[[Use], None]) -> Basis:
    """Returns the basis with what unseen gradients say of it: their concentration and their energies.

    The energies are shares of that of the whole gradients, of which a truncated basis leaves some out.
    """
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    energies = {kind: b.U.new_zeros(b.rank) for kind, b in kinds.items()}
    left_out = dict.fromkeys(kinds, 0.0)

    def add(place: MLPLinear, G: Tensor) -> None:
        b = kinds[place.kind]
        G = G.to(b.V.dtype)
        rotated = b.to_basis(G)
        after = energy_in_top(rotated, G if b.is_truncated else None)
        seen[place.kind].append((energy_in_top(G), after))
        energies[place.kind].addcmul_(rotated, rotated)
        if b.is_truncated:
            left_out[place.kind] += max(0.0, (G.norm().square() - rotated.norm().square()).item())

    each_gradient(add)
    probed = {}
    for kind, energy in energies.items():
        shares = _shares(energy, energy.sum() + left_out[kind])
        concentration = energy.new_tensor(seen[kind]).mean(0)
        probed[kind] = replace(kinds[kind], energy=shares, concentration=concentration)
    return Basis(probed)


def _numbered(batches: Iterable[Batch], needed: int) -> Iterator[tuple[int, Batch]]:
    """Yields `needed` batches with their numbers, from 1."""
    done = 0
    for done, batch in enumerate(islice(batches, needed), 1):
        yield done, batch
    if done < needed:
        raise ValueError(f"calibration needs {needed} batches; there were {done}")


def _each_gradient(
    model: nn.Module,
    places: list[MLPLinear],
    numbered: Iterable[tuple[int, Batch]],
    loss_of: LossOf,
    on_step: OnStep | None,
    use: Use,
) -> None:
    """Hand each MLP gradient to `use`, then free it: one lives at a time, and none other is made."""
    trained = {place.linear.weight: place for place in places}

    def hook(weight: Tensor) -> None:
        place, G = trained[weight], weight.grad
        assert G is not None
        if not all(extreme.isfinite() for extreme in G.aminmax()):
            raise ValueError(f"the calibration gradient of {place.name} is not finite")
        use(place, G)
        weight.grad = None

    before = [(p, p.requires_grad) for p in model.parameters()]
    for p, _ in before:
        p.grad = None
        p.requires_grad_(p in trained)
    handles = [weight.register_post_accumulate_grad_hook(hook) for weight in trained]
    try:
        for done, batch in numbered:
            loss_of(model, batch).backward()
            if on_step:
                on_step(done)
    finally:
        for handle in handles:
            handle.remove()
        for p, requires_grad in before:
            p.grad = None
            p.requires_grad_(requires_grad)


class Gram:
    """The sum of `A A^T`, `n x n`, over matrices with `n` rows, and its eigenvectors.

    Only the lower triangle is summed and held, in strips of rows (first row -> strip) that end at the
    diagonal. It is where `like` is, in its dtype or float32, whichever is wider.
    """

    def __init__(self, n: int, like: Tensor) -> None:
        self.n = n
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        self.strips = {
            top: like.new_zeros(min(STRIP, n - top), min(top + STRIP, n), dtype=self.dtype)
            for top in range(0, n, STRIP)
        }

    def add(self, A: Tensor) -> None:
        """`A` has shape `n x m` and the dtype of the sum."""
        for top, strip in self.strips.items():
            strip.addmm_(A[top : top + STRIP], A[: top + STRIP].T)

    def principal(self, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """Returns eigenvectors and their shares of the whole energy (the trace), largest first.

        `n x rank`, column-major, and `rank`; None, or `n` and more: all. Frees the sum. All come from LAPACK
        in float64; a `rank` well below `n` from subspace iteration, whose directions hold all but about 1e-4
        of the energy that any so many could.
        """
        rank = min(rank or self.n, self.n)
        if 3 * rank < self.n:
            return self._leading(rank)
        whole = self.strips[0].new_zeros(self.n, self.n, dtype=torch.float64)
        for top in range(0, self.n, STRIP):
            whole[top : top + STRIP, : top + STRIP] = self.strips.pop(top)
        values, vectors = torch.linalg.eigh(whole, UPLO="L")
        values = values.flip(0).clamp(min=0)
        # column-major, as an optimizer holds them, so that they are shared
        columns = vectors.T.flip(0)[:rank].to(self.dtype).contiguous().T
        return columns, _shares(values, values.sum())[:rank].to(self.dtype)

    def times(self, Q: Tensor) -> Tensor:
        """Returns the sum times `Q`, of shape `n x m`."""
        product = torch.zeros_like(Q)
        for top, strip in self.strips.items():
            rows = slice(top, top + STRIP)
            product[rows] += strip @ Q[: top + STRIP]
            product[:top] += strip[:, :top].T @ Q[rows]  # above the diagonal
        return product

    def _leading(self, rank: int) -> tuple[Tensor, Tensor]:
        """By subspace iteration from a fixed start, which errs least where the spectrum falls quickly."""
        width = min(self.n, rank + rank // SPARE + 16)
        start = torch.randn(self.n, width, generator=torch.Generator().manual_seed(0))
        product = start.to(self.strips[0])
        trace = torch.cat([strip.diagonal(top) for top, strip in self.strips.items()]).sum()
        found = 0.0
        for _ in range(ROUNDS):
            Q = torch.linalg.qr(product).Q
            product = self.times(Q)
            before, found = found, (Q * product).sum().item()
            if found - before <= SETTLED * trace:
                break
        self.strips.clear()
        values, vectors = torch.linalg.eigh((Q.T @ product).double())
        values = values.flip(0)[:rank].clamp(min=0)
        columns = (Q @ vectors.flip(1)[:, :rank].to(Q.dtype)).T.contiguous().T
        return columns, _shares(values, trace.double()).to(self.dtype)


def _shares(values: Tensor, total: Tensor) -> Tensor:
    return values / total.clamp(min=torch.finfo(values.dtype).tiny)
