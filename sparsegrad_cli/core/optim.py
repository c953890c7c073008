"""The masked Adam: AdamW whose chosen matrices move in some of the entries of their gradient alone.

At each step a masked matrix is updated in k entries: the largest of its gradient (`k`), or a choice made once
(`entries`). The weights and both moments of the others stay as they are; the bias correction counts every
step, as in `torch.optim.SparseAdam`. With every entry chosen it is AdamW, to rounding. All matrices of a
batch go through it together:

    S   = V^T G_l U              L x (r c), one product for all; G_l itself where there is no basis
    e   = top k of |S|           L x k
    m, v, d = Adam at e          the moments are held in pages, where an entry was ever chosen
    W_l += V d_l U^T

On a device nothing waits for it: no shape hangs on a number, and `step` lives there too.

Moments: the flat positions of a matrix are cut into pages of `PAGE` neighbours. A page gets room when one of
its entries is first chosen; until then its moments are zero and take none:

    page_of    int32, L x pages: the page's place in the two below, or -1
    used       int32, L x 1: pages that have a place
    exp_avg, exp_avg_sq          L x (room PAGE)
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from .basis import add_update, product
from .topk import top_k_rows

PAGE = 8  # entries; the chosen ones are neighbours often enough that smaller pages save little
SPARE = 8  # stores that grow get 1/8 more than they need

MOMENTS = ("exp_avg", "exp_avg_sq")
SPACE = ("U", "V", "entries")  # tensors of a masked group
Group = dict[str, Any]
State = dict[str, Tensor]


class SparseAdamW(torch.optim.Optimizer):
    """AdamW in which a parameter group may be masked.

    A group is masked that has any of the first three keys; others are trained by torch's own fused AdamW:

        k          int: of each matrix the k entries of largest gradient magnitude are updated, or
        entries    int64, matrices x k: these are, flat positions
        U, V       `I x c` and `O x r`: entries are those of `V^T G U`, and the update `dS` found there is
                   applied as `V dS U^T`; without `k` and `entries` all of them are trained
        batch      matrices of one shape that are updated together (default 1)
        precision  of products with U and V on CUDA: "ieee", "tf32" or "bf16" (default "ieee")
        triton     with `k`, in float32 on CUDA: by the kernels of `triton_kernels`; False (the default) by
                   torch's, until a GPU has shown that ours are right and faster (`sparsegrad bench gpu`)

    All of it is in `state_dict`. Moments of masked matrices are at least float32.

    The arguments are those of torch's AdamW; `weight_decay` is for the plain groups, a masked one has none.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise ValueError(f"lr, eps and weight_decay must be >= 0, got {lr}, {eps}, {weight_decay}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be in [0, 1), got {betas}")
        defaults: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        defaults |= {"k": None, **dict.fromkeys(SPACE), "batch": 1, "precision": "ieee", "triton": False}
        # matrix -> pages that a device has in use after its last step, and when the host may read that
        self._counted_pages: dict[Tensor, tuple[torch.Event, Tensor]] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """As in torch; refuses `k` below 1 and weight decay in a masked group."""
        masked = _is_masked(param_group)
        param_group["fused"] = not masked
        if (k := param_group.get("k")) is not None and k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if masked and (decay := param_group.setdefault("weight_decay", 0.0)) != 0:
            raise ValueError(f"a masked group has no weight decay: set it to 0, not {decay}")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; parameters without a gradient are passed over."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if _is_masked(group):
                for first in range(0, len(group["params"]), group["batch"]):
                    self._batch_step(group, first)
            else:
                self._plain_step(group)
        return loss

    @torch.no_grad()
    def step_from(self, p: Tensor, dY: Tensor, x: Tensor) -> None:
        """Take the step of one masked matrix in backward, from `dY` (tokens x O) and `x` (tokens x I)."""
        group, first, row = self._find(p)
        chain = (dY.T, x) if group["U"] is None else (group["V"].T, dY.T, x, group["U"])
        S = product(*chain, precision=group["precision"])
        self._masked_step(group, first, slice(row, row + 1), S.reshape(1, -1))

    def step_in_backward(self) -> None:
        """Let every batch of masked matrices take its step as soon as backward has made all its gradients.

        They are freed there, so that those of all layers never live together. One backward is then one step.
        """
        own = weakref.ref(self)  # a model that is kept does not keep its optimizer

        @torch.no_grad()
        def hook(p: Tensor) -> None:
            optimizer = own()
            if optimizer is None:
                return
            group, first, _ = optimizer._find(p)
            batch = group["params"][first : first + group["batch"]]
            if all(each.grad is not None for each in batch):
                optimizer._batch_step(group, first)
                for each in batch:
                    each.grad = None

        for group in self.param_groups:
            for p in group["params"] if _is_masked(group) else []:
                p.register_post_accumulate_grad_hook(hook)

    def _find(self, p: Tensor) -> tuple[Group, int, int]:
        """Returns the masked group of `p`, the position there of its batch, and its own in the batch."""
        for group in self.param_groups:
            for position, q in enumerate(group["params"] if _is_masked(group) else []):
                if p is q:
                    row = position % group["batch"]
                    return group, position - row, row
        raise ValueError("the parameter is in no masked group")

    def _batch_step(self, group: Group, first: int) -> None:
        grads = [p.grad for p in group["params"][first : first + group["batch"]]]
        present = [slice(row, row + 1) for row, grad in enumerate(grads) if grad is not None]
        for rows in [slice(0, len(grads))] if len(present) == len(grads) else present:
            G = torch.stack(grads[rows]) if rows.stop - rows.start > 1 else grads[rows.start][None]
            if group["U"] is not None:
                U, V = group["U"], group["V"]
                G = product(V.T, G.to(V.dtype), U, precision=group["precision"])
            self._masked_step(group, first, rows, G.reshape(len(G), -1))

    def _masked_step(self, group: Group, first: int, rows: slice, S: Tensor) -> None:
        """Update the `rows` of the batch that begins at the matrix `first` of the group.

        `S` holds their gradients, `L x (r c)`, or in the original space `L x (O I)`.
        """
        batch = group["params"][first : first + group["batch"]]
        state, k, entries = self.state[batch[0]], group["k"], group["entries"]
        if not state:
            state.update(_no_moments(batch, group, S.shape[1]))
        if k is None:
            entries = None if entries is None else entries[first : first + len(batch)][rows]
            update = _adam(state, rows, group, S if entries is None else S.gather(1, entries))
        elif group["triton"]:
            kernels = importlib.import_module(".triton_kernels", __package__)
            kth = kernels.kth_largest(S, min(k, S.shape[1]))
            chosen = F.pad(~(S.abs() < kth[:, None]) & (S != 0), (0, -S.shape[1] % PAGE))
            self._give_pages(batch[0], rows, chosen.unflatten(1, (-1, PAGE)).any(2), k)
            update = kernels.masked_adam(S, kth, state, rows, PAGE, group)
        else:
            entries = top_k_rows(S, k)
            needed = torch.zeros_like(state["page_of"][rows], dtype=torch.bool)
            self._give_pages(batch[0], rows, needed.scatter_(1, entries // PAGE, True), k)
            places = state["page_of"][rows].gather(1, entries // PAGE).long() * PAGE + entries % PAGE
            update = _adam(state, rows, group, S.gather(1, entries), places)
        add_update(batch[rows], update, entries, group["U"], group["V"], group["precision"])

    def _give_pages(self, p: nn.Parameter, rows: slice, needed: Tensor, k: int) -> None:
        """Give those of the `needed` pages (rows x pages, at most k of a row) that have no place the next."""
        state = self.state[p]
        page_of, used = state["page_of"][rows], state["used"][rows]
        new = needed & (page_of < 0)
        dealt = new.cumsum(1, dtype=page_of.dtype)
        page_of.copy_(torch.where(new, used + dealt - 1, page_of))
        used.add_(dealt[:, -1:])
        most, room = state["page_of"].shape[1], state["exp_avg"].shape[1]
        pages = min(self._pages_in_use(p, k), most)
        if pages * PAGE > room:
            for name in MOMENTS:
                store = state[name]
                state[name] = store.new_zeros(len(store), PAGE * min(pages + pages // SPARE, most))
                state[name][:, :room] = store

    def _pages_in_use(self, p: nn.Parameter, k: int) -> int:
        """Returns the pages in use, or, so that the host waits for no step under way, a number not below."""
        used = self.state[p]["used"]
        if used.device.type == "cpu":
            return int(used.max())
        if p in self._counted_pages:
            event, count = self._counted_pages[p]
            event.synchronize()
            at_most = int(count) + k
        else:
            at_most = int(used.max())
        count = torch.empty((), dtype=used.dtype, pin_memory=True)
        count.copy_(used.max(), non_blocking=True)
        event = torch.Event(used.device)
        event.record()
        self._counted_pages[p] = event, count
        return at_most

    def _plain_step(self, group: Group) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        for p in params:
            if not self.state[p]:
                self.state[p] = {name: torch.zeros_like(p) for name in MOMENTS}
                self.state[p]["step"] = torch.zeros((), device=p.device)
        grads, states = [p.grad for p in params], [self.state[p] for p in params]
        mean, square, step = ([state[name] for state in states] for name in (*MOMENTS, "step"))
        options = {name: group[name] for name in ("lr", "weight_decay", "eps")}
        options |= {"fused": True, "amsgrad": False, "maximize": False}
        beta1, beta2 = group["betas"]
        adamw(params, grads, mean, square, [], step, beta1=beta1, beta2=beta2, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch, but what belongs to masked matrices keeps its types, and U and V are not copied."""
        saved_groups = state_dict["param_groups"]
        light = [{name: value for name, value in g.items() if name not in SPACE} for g in saved_groups]
        super().load_state_dict({**state_dict, "param_groups": light})
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            for name in SPACE:
                tensor = saved.get(name)
                group[name] = None if tensor is None else tensor.to(group["params"][0].device)
            if _is_masked(group):
                for saved_id, p in zip(saved["params"], group["params"], strict=True):
                    for name, tensor in state_dict["state"].get(saved_id, {}).items():
                        self.state[p][name] = tensor.to(p.device, copy=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._counted_pages = {}
        for group in self.param_groups:
            group.setdefault("triton", False)


def _is_masked(group: Group) -> bool:
    return any(group.get(name) is not None for name in ("k", *SPACE))


def _no_moments(batch: list[Tensor], group: Group, size: int) -> State:
    """Returns the state of L matrices before their first step, with `size` entries each to choose from."""
    L, p = len(batch), batch[0]
    state = {"step": torch.zeros(L, 1, dtype=torch.float64, device=p.device)}
    width = size if group["entries"] is None else group["entries"].shape[1]
    if group["k"] is not None:
        width = 0
        state["page_of"] = torch.full((L, -(-size // PAGE)), -1, dtype=torch.int32, device=p.device)
        state["used"] = torch.zeros(L, 1, dtype=torch.int32, device=p.device)
    dtype = torch.promote_types(p.dtype, torch.float32)
    return state | {name: torch.zeros(L, width, dtype=dtype, device=p.device) for name in MOMENTS}


def _adam(state: State, rows: slice, group: Group, g: Tensor, at: Tensor | None = None) -> Tensor:
    """Advance the moments of the entries by one step and return their update, `L x k`.

    Their gradients are `g`, and `at` their places in the stores; None: all of a row in order.
    """
    (beta1, beta2), lr = group["betas"], group["lr"]
    step = state["step"][rows].add_(1)
    stores = [state[name][rows] for name in MOMENTS]
    mean, square = stores if at is None else [store.gather(1, at) for store in stores]
    g = g.to(mean.dtype)
    mean.lerp_(g, 1 - beta1)
    square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    if at is not None:
        for store, moment in zip(stores, (mean, square), strict=True):
            store.scatter_(1, at, moment)
    root = square.sqrt().div_((1 - beta2**step).sqrt().to(g.dtype)).add_(group["eps"])
    return (mean / root).mul_((-lr / (1 - beta1**step)).to(g.dtype))
