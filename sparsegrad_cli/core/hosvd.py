"""Calibration: the HOSVD of the MLP gradients, without ever stacking them.

The paper stacks the gradients `G_1 .. G_n` (`O x I`) of one kind of linear, over blocks and steps, and takes
the left singular vectors of the stack's unfoldings. The same vectors are the eigenvectors of

    sum G G^T  (O x O)  ->  V            sum G^T G  (I x I)  ->  U

which are summed as the gradients come, so memory does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .basis import Basis, KindBasis, Rotation
from .linears import MLPLinear, find_mlp_linears
from .selection import top_entries

Batch = Mapping[str, Tensor]
STRIP = 512  # rows


@dataclass(frozen=True)
class Concentration:
    """Share of an unseen gradient's energy (sum of squares) in its largest 1% of entries."""

    before: float  # in the original space
    after: float  # in the basis


@dataclass(frozen=True)
class Calibration:
    """A basis, and how concentrated it makes the gradients of each kind (None without probe steps)."""

    basis: Basis
    concentration: Mapping[str, Concentration] | None


def model_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The loss that a Hugging Face model returns for a batch with labels."""
    return model(**batch).loss


def calibrate(
    model: nn.Module,
    batches: Iterable[Batch],
    steps: int = 30,
    probe_steps: int = 4,
    loss_of: Callable[[nn.Module, Batch], Tensor] = model_loss,
    made_from: Mapping[str, str] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Calibration:
    """Finds the basis of the MLP gradients of `model` from `steps` batches (paper, section 3).

    No weight is changed. The model is used in the mode (train or eval) that it is in; the gradients of its
    parameters are cleared.

    Args:
        model: any model that `find_mlp_linears` knows, on any device.
        batches: at least `steps + probe_steps` batches on the model's device.
        steps: batches whose gradients make the basis.
        probe_steps: further batches, unseen by the basis, on which the concentration and the energy of each
            entry are measured; without any, the basis serves no fixed support.
        loss_of: from model and batch to a scalar loss.
        made_from: goes into the basis as its record.
        on_step: called with the number of batches done.

    Raises:
        UnsupportedModelError: the model has no known MLP linears.
        ValueError: too few batches, or a gradient that is not finite.
    """
    places = find_mlp_linears(model)
    grams = {place.kind: _Grams.for_weight(place.linear.weight) for place in places}
    stream = _losses(model, batches, steps + probe_steps, loss_of, on_step)
    with _only_trained(model, places):
        with _each_gradient(places, lambda place, G: grams[place.kind].add(place.name, G)):
            for _ in range(steps):
                next(stream).backward()
        basis = Basis({kind: gram.basis() for kind, gram in grams.items()}, dict(made_from or {}))
        probe = _Probe(basis)
        with _each_gradient(places, probe.add):
            for _ in range(probe_steps):
                next(stream).backward()
    if not probe_steps:
        return Calibration(basis, None)
    return Calibration(probe.basis_with_energy(), probe.concentration())


def energy_in_top(G: Tensor, share: float) -> float:
    """Share of the energy of `G` in the `share` of its entries that are largest in magnitude."""
    kept = G.flatten()[top_entries(G, max(1, round(share * G.numel())))]
    return (kept.square().sum() / G.square().sum()).item()


@dataclass
class _Grams:
    """The two running sums of one kind, each in its lower triangle alone."""

    left: Tensor  # O x O: sum G G^T
    right: Tensor  # I x I: sum G^T G

    @classmethod
    def for_weight(cls, weight: Tensor) -> _Grams:
        O, I = weight.shape
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return cls(weight.new_zeros(O, O, dtype=dtype), weight.new_zeros(I, I, dtype=dtype))

    def add(self, name: str, G: Tensor) -> None:
        if not G.isfinite().all():
            raise ValueError(f"the calibration gradient of {name} is not finite")
        G = G.to(self.left.dtype)
        _add_gram(self.left, G)
        _add_gram(self.right, G.T)

    def basis(self) -> KindBasis:
        (V, V_energy), (U, U_energy) = _principal(self.left), _principal(self.right)
        return KindBasis(U=U, V=V, U_energy=U_energy, V_energy=V_energy)


def _add_gram(gram: Tensor, A: Tensor) -> None:
    """`gram += A A^T` in the lower triangle, by strips: little more than half of the operations."""
    for top in range(0, len(A), STRIP):
        rows = slice(top, top + STRIP)
        left_of_diagonal = slice(0, min(top + STRIP, len(A)))
        gram[rows, left_of_diagonal].addmm_(A[rows], A[left_of_diagonal].T)


def _principal(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (columns) and shares of the trace, largest first, in the dtype of `gram`.

    Args:
        gram: symmetric; only its lower triangle is read.
    """
    values, vectors = torch.linalg.eigh(gram.double(), UPLO="L")
    values = values.flip(0).clamp(min=0)
    total = values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    # column-major, as a Rotation holds them, so that they are shared
    columns = vectors.T.flip(0).to(gram.dtype).contiguous().T
    return columns, (values / total).to(gram.dtype)


class _Probe:
    """Over the gradients that it is shown: mean energy in the top 1% before and after, and in each entry."""

    SHARE = 0.01

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.rotations = {kind: Rotation(b.U, b.V) for kind, b in basis.kinds.items()}
        self.seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in basis.kinds}
        self.energy = {kind: b.U.new_zeros(b.shape) for kind, b in basis.kinds.items()}

    def add(self, place: MLPLinear, G: Tensor) -> None:
        rotated = self.rotations[place.kind].to_basis(G)
        self.seen[place.kind].append((energy_in_top(G, self.SHARE), energy_in_top(rotated, self.SHARE)))
        self.energy[place.kind].addcmul_(rotated, rotated)

    def concentration(self) -> dict[str, Concentration]:
        return {
            kind: Concentration(*(sum(column) / len(pairs) for column in zip(*pairs, strict=True)))
            for kind, pairs in self.seen.items()
        }

    def basis_with_energy(self) -> Basis:
        kinds = {kind: replace(b, energy=_shares(self.energy[kind])) for kind, b in self.basis.kinds.items()}
        return Basis(kinds, self.basis.made_from)


def _shares(energy: Tensor) -> Tensor:
    """Each entry over the sum of all."""
    return energy / energy.sum().clamp(min=torch.finfo(energy.dtype).tiny)


def _losses(
    model: nn.Module,
    batches: Iterable[Batch],
    needed: int,
    loss_of: Callable[[nn.Module, Batch], Tensor],
    on_step: Callable[[int], None] | None,
) -> Iterator[Tensor]:
    done = 0
    for batch in batches:
        yield loss_of(model, batch)
        done += 1
        if on_step:
            on_step(done)
        if done == needed:
            return
    raise ValueError(f"calibration needs {needed} batches; there were {done}")


@contextmanager
def _only_trained(model: nn.Module, places: list[MLPLinear]) -> Iterator[None]:
    """Only the MLP weights take gradients inside; what was trained before is trained after."""
    before = [(p, p.requires_grad) for p in model.parameters()]
    weights = {place.linear.weight for place in places}
    try:
        for p, _ in before:
            p.grad = None
            p.requires_grad_(p in weights)
        yield
    finally:
        for p, requires_grad in before:
            p.grad = None
            p.requires_grad_(requires_grad)


@contextmanager
def _each_gradient(places: list[MLPLinear], use: Callable[[MLPLinear, Tensor], None]) -> Iterator[None]:
    """Hands each weight gradient to `use` as soon as it is made, then frees it: one lives at a time."""

    def hook_for(place: MLPLinear) -> Callable[[Tensor], None]:
        def hook(weight: Tensor) -> None:
            use(place, weight.grad)
            weight.grad = None

        return hook

    with torch.no_grad():
        hooks = [place.linear.weight.register_post_accumulate_grad_hook(hook_for(place)) for place in places]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
