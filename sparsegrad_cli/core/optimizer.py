"""The masked Adam: AdamW whose chosen matrices move only in their largest gradient entries.

At each step, of each masked matrix's gradient the `kept` entries of largest magnitude are used. The weights
and both moments of the others stay as they are; the bias correction counts every step, as in
`torch.optim.SparseAdam`. With every entry kept it is AdamW, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from .moments import no_moments, places
from .rotation import Rotation
from .selection import top_entries


class SparseAdamW(torch.optim.Optimizer):
    """AdamW in which a parameter group may be masked.

    A group with `kept: int` is masked: of each of its matrices the `kept` entries with the largest gradient
    magnitude are updated. A group without is torch's own fused AdamW. Moments of masked matrices are at least
    float32, and held only where an entry was ever chosen (see `moments`).

    Args:
        params: parameters, or groups as for any torch optimizer, each with an optional `kept`.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled, for the plain groups; a masked group has none.
        rotations: for weights that stay in the original space while their gradient is in a basis: the update
            `dS` found there is applied as `V dS U^T`.
        deferred: those of them whose gradient is not in the basis yet: `step` projects it.

    Raises:
        ValueError: a value out of range, or weight decay in a masked group.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        rotations: Mapping[nn.Parameter, Rotation] | None = None,
        deferred: Collection[nn.Parameter] = (),
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise ValueError(f"lr, eps and weight_decay must be >= 0, got {lr}, {eps}, {weight_decay}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be in [0, 1), got {betas}")
        self.rotations = dict(rotations or {})
        self.deferred = frozenset(deferred)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "kept": None}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict) -> None:
        """As in torch; refuses `kept` below 1 and weight decay in a masked group."""
        kept = param_group.get("kept")
        param_group["fused"] = kept is None
        if kept is not None:
            if kept < 1:
                raise ValueError(f"kept must be at least 1, got {kept}")
            param_group.setdefault("weight_decay", 0.0)
            if param_group["weight_decay"] != 0:
                raise ValueError(
                    f"a masked group has no weight decay: set it to 0, not {param_group['weight_decay']}"
                )
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; parameters without a gradient are passed over."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if group["kept"] is None:
                self._plain_step(params, group)
                continue
            for p in params:
                self._masked_step(p, group, self._in_basis(p))
        return loss

    @torch.no_grad()
    def take(self, p: nn.Parameter, G: Tensor) -> None:
        """The step of one masked matrix from its gradient `G` (`r x c`, in the basis), which is not kept.

        A streamed layer calls it in its backward; `p.grad` is not used.
        """
        group = next(g for g in self.param_groups if any(p is q for q in g["params"]))
        self._masked_step(p, group, G)

    def _in_basis(self, p: nn.Parameter) -> Tensor:
        """The gradient of `p` where its entries are chosen: `r x c` in a basis, else of the shape of `p`."""
        rotation = self.rotations.get(p)
        if rotation is None:
            return p.grad
        if p in self.deferred:
            return rotation.to_basis(p.grad)
        r, c = rotation.rank
        return p.grad[:r, :c]

    def _masked_step(self, p: nn.Parameter, group: dict, G: Tensor) -> None:
        """One step from the gradient `G`, `r x c` in the basis that it is in, or of the shape of `p`."""
        if not self.state[p]:
            self.state[p].update(no_moments(p, G.numel()))
        entries = top_entries(G, group["kept"])
        self._update(p, group, entries, G.flatten()[entries])

    def _update(self, p: nn.Parameter, group: dict, entries: Tensor, gradient: Tensor) -> None:
        """Adam at the flat positions `entries`, where the gradient is `gradient`; shapes (k,)."""
        state = self.state[p]
        state["step"] += 1
        step = state["step"].item()
        beta1, beta2 = group["betas"]

        at = places(state, entries)
        exp_avg, exp_avg_sq = state["exp_avg"].view(-1), state["exp_avg_sq"].view(-1)
        gradient = gradient.to(exp_avg.dtype)
        mean = exp_avg[at].lerp_(gradient, 1 - beta1)
        square = exp_avg_sq[at].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        exp_avg[at], exp_avg_sq[at] = mean, square

        root = (square.sqrt() / math.sqrt(1 - beta2**step)).add_(group["eps"])
        update = mean.div_(root).mul_(-group["lr"] / (1 - beta1**step))

        rotation = self.rotations.get(p)
        if rotation is None:
            p.view(-1)[entries] += update.to(p.dtype)
        else:
            rotation.add_update(p, entries, update)

    def _plain_step(self, params: list[nn.Parameter], group: dict) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        beta1, beta2 = group["betas"]
        states = [self.state[p] for p in params]
        adamw(
            params,
            [p.grad for p in params],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """As in torch, but the state of masked matrices keeps the types that it was saved in."""
        super().load_state_dict(state_dict)
        saved_ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [(p, group) for group in self.param_groups for p in group["params"]]
        for saved_id, (p, group) in zip(saved_ids, params, strict=True):
            saved = state_dict["state"].get(saved_id)
            if saved and group["kept"] is not None:
                for name in ("page_of", "exp_avg", "exp_avg_sq"):
                    self.state[p][name] = saved[name].to(p.device, copy=True)


def touched_entries(optimizer: torch.optim.Optimizer, params: Iterable[nn.Parameter]) -> int:
    """Number of entries of `params` that an Adam of any kind has moved at least once.

    Once an entry has had a gradient its second moment stays above zero; before, it is zero.
    """
    states = (optimizer.state[p] for p in params if p in optimizer.state)
    return sum(int(torch.count_nonzero(state["exp_avg_sq"])) for state in states if state)
