"""Calibration: the HOSVD of the MLP gradients, without ever stacking them.

The paper stacks the gradients `G_1 .. G_n` (`O x I`) of one kind of linear, over blocks and steps, and takes
the left singular vectors of the stack's unfoldings. The same vectors are the eigenvectors of

    sum G G^T  (O x O)  ->  V            sum G^T G  (I x I)  ->  U

which are summed as the gradients come, so memory does not grow with the number of steps. Where O and I are
thousands, the leading `basis_rank` vectors of each are found sooner than all, and take less room ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .basis import Basis, KindBasis
from .gram import Gram
from .linears import MLPLinear, find_mlp_linears
from .rotation import Rotation
from .selection import top_entries

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Concentration:
    """Share of an unseen gradient's energy (sum of squares) in its largest 1% of entries."""

    before: float  # in the original space
    after: float  # in the basis


@dataclass(frozen=True)
class Calibration:
    """A basis, and how concentrated it makes the gradients of each kind (None without probe steps).

    How much of their energy a truncated basis keeps is in `KindBasis.energy_kept`.
    """

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
    blocks: Collection[int] | None = None,
    basis_rank: int | None = None,
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
        blocks: numbers of the blocks whose gradients are used; None: all.
        basis_rank: truncates `V` and `U` to so many columns each, at most; None: all.

    Raises:
        UnsupportedModelError: the model has no known MLP linears.
        ValueError: too few batches, a gradient that is not finite, or a rank below 1.
    """
    if basis_rank is not None and basis_rank < 1:
        raise ValueError(f"basis_rank must be at least 1, got {basis_rank}")
    places = find_mlp_linears(model, blocks)
    grams = {place.kind: _Grams(place.linear.weight) for place in places}
    losses = _losses(model, batches, steps + probe_steps, loss_of)

    def pass_over(first: int, last: int) -> None:
        for done in range(first, last):
            next(losses).backward()
            if on_step:
                on_step(done + 1)

    with _only_trained(model, places):
        with _each_gradient(places, lambda place, G: grams[place.kind].add(place.name, G)):
            pass_over(0, steps)
        kinds = {kind: gram.basis(basis_rank) for kind, gram in grams.items()}
        basis = Basis(kinds, dict(made_from or {}))
        probe = _Probe(basis)
        with _each_gradient(places, probe.add):
            pass_over(steps, steps + probe_steps)
    if not probe_steps:
        return Calibration(basis, None)
    return Calibration(probe.basis_with_energy(), probe.concentration())


def energy_in_top(G: Tensor, share: float, whole: Tensor | None = None) -> float:
    """Share of the energy of `G` in the `share` of its entries that are largest in magnitude.

    Args:
        whole: the gradient of which `G` is a part; both shares are then of it.
    """
    whole = G if whole is None else whole
    kept = G.flatten()[top_entries(G, max(1, round(share * whole.numel())))]
    return (kept.square().sum() / whole.square().sum()).item()


class _Grams:
    """The two running sums of one kind, whose gradients are `O x I`."""

    def __init__(self, weight: Tensor) -> None:
        O, I = weight.shape
        self.left, self.right = Gram(O, weight), Gram(I, weight)  # sum G G^T, sum G^T G

    def add(self, name: str, G: Tensor) -> None:
        if not all(extreme.isfinite() for extreme in G.aminmax()):
            raise ValueError(f"the calibration gradient of {name} is not finite")
        G = G.to(self.left.dtype)
        self.left.add(G)
        self.right.add(G.T)

    def basis(self, rank: int | None) -> KindBasis:
        (V, V_energy), (U, U_energy) = self.left.principal(rank), self.right.principal(rank)
        return KindBasis(U=U, V=V, U_energy=U_energy, V_energy=V_energy)


class _Probe:
    """Over the gradients that it is shown: mean energy in the top 1% before and after, and in each entry."""

    SHARE = 0.01

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.rotations = {kind: Rotation(b.U, b.V) for kind, b in basis.kinds.items()}
        self.seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in basis.kinds}
        self.energy = {kind: b.U.new_zeros(b.rank) for kind, b in basis.kinds.items()}
        self.left_out = dict.fromkeys(basis.kinds, 0.0)  # by a truncated basis

    def add(self, place: MLPLinear, G: Tensor) -> None:
        rotation = self.rotations[place.kind]
        G = G.to(rotation.V.dtype)
        rotated = rotation.to_basis(G)
        after = energy_in_top(rotated, self.SHARE, G if rotation.is_truncated else None)
        self.seen[place.kind].append((energy_in_top(G, self.SHARE), after))
        self.energy[place.kind].addcmul_(rotated, rotated)
        if rotation.is_truncated:
            self.left_out[place.kind] += max(0.0, (G.norm().square() - rotated.norm().square()).item())

    def concentration(self) -> dict[str, Concentration]:
        return {
            kind: Concentration(*(sum(column) / len(pairs) for column in zip(*pairs, strict=True)))
            for kind, pairs in self.seen.items()
        }

    def basis_with_energy(self) -> Basis:
        return Basis(
            {kind: replace(b, energy=self._shares(kind)) for kind, b in self.basis.kinds.items()},
            self.basis.made_from,
        )

    def _shares(self, kind: str) -> Tensor:
        """The energy in each entry over that of the whole gradients."""
        energy = self.energy[kind]
        total = energy.sum() + self.left_out[kind]
        return energy / total.clamp(min=torch.finfo(energy.dtype).tiny)


def _losses(
    model: nn.Module,
    batches: Iterable[Batch],
    needed: int,
    loss_of: Callable[[nn.Module, Batch], Tensor],
) -> Iterator[Tensor]:
    done = 0
    for batch in batches:
        yield loss_of(model, batch)
        done += 1
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
