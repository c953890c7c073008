"""The masked Adam on CUDA in Triton: a threshold in place of positions, so nothing is sorted nor gathered.

    kth_largest    the k-th largest magnitude of each row, by three counts of its bits, 11, 10 and 10 of them
    masked_adam    where |g| reaches it: both moments and the update; elsewhere the update is zero

Imported only where a group of `SparseAdamW` asks for it. Checked against torch by Triton's interpreter,
TRITON_INTERPRET=1, which says nothing of speed.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

DIGITS = (11, 10, 10)  # bits; the magnitude of a float32 has 31, and they order as the numbers do
BLOCK = 1024  # entries a program looks at


@triton.jit
def _count_digits(S, prefixes, counts, n, prefix_shift, shift, BINS: tl.constexpr, BLOCK: tl.constexpr):
    """Count the next digit of the magnitudes that begin with their row's prefix, into `rows x BINS`."""
    row = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    bits = tl.abs(tl.load(S + row.to(tl.int64) * n + i, mask=i < n, other=0.0)).to(tl.int32, bitcast=True)
    inside = (i < n) & ((bits >> prefix_shift) == tl.load(prefixes + row))
    tl.atomic_add(counts + row * BINS + ((bits >> shift) & (BINS - 1)), 1, mask=inside)


@triton.jit
def _adam(
    S, kth, page_of, exp_avg, exp_avg_sq, update, rate, root_correction,
    n, pages, room, rest1, beta2, rest2, eps, PAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step of the chosen entries of a row; all strides are those of contiguous rows."""
    row = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = tl.load(S + row * n + i, mask=i < n, other=0.0)
    chosen = (tl.abs(g) < tl.load(kth + row)) == 0  # NaN too, as by torch's top-k: it must show
    chosen = chosen & (g != 0)
    page = tl.load(page_of + row * pages + i // PAGE, mask=chosen, other=-1)
    at = page.to(tl.int64) * PAGE + i % PAGE
    chosen = chosen & (page >= 0) & (at < room)  # of more than k equal magnitudes some find no room
    at += row * room
    m = tl.load(exp_avg + at, mask=chosen, other=0.0)
    v = tl.load(exp_avg_sq + at, mask=chosen, other=0.0)
    m += (g - m) * rest1
    v = v * beta2 + g * g * rest2
    tl.store(exp_avg + at, m, mask=chosen)
    tl.store(exp_avg_sq + at, v, mask=chosen)
    d = -tl.load(rate + row) * m / (tl.sqrt(v) / tl.load(root_correction + row) + eps)
    tl.store(update + row * n + i, tl.where(chosen, d, 0.0), mask=i < n)


def kth_largest(S: Tensor, k: int) -> Tensor:
    """Returns the k-th largest magnitude of each row of `S` (L x n, float32, contiguous), exactly: (L,)."""
    if S.dtype != torch.float32:
        raise TypeError(f"the Triton kernels are for gradients in float32, not {S.dtype}")
    L, n = S.shape
    left = torch.full((L, 1), k, device=S.device)  # how many are still to be counted off from the top
    prefixes = torch.zeros(L, 1, dtype=torch.int32, device=S.device)
    shift = sum(DIGITS)
    for bits in DIGITS:
        prefix_shift, shift = shift, shift - bits
        counts = torch.zeros(L, 1 << bits, dtype=torch.int32, device=S.device)
        with torch.cuda.device(S.get_device()):  # Triton takes the current one
            _count_digits[(triton.cdiv(n, BLOCK), L)](
                S, prefixes, counts, n, prefix_shift, shift, BINS=1 << bits, BLOCK=BLOCK
            )
        reached = counts.flip(1).cumsum(1)  # entries with this digit or a higher one
        higher = (reached < left).sum(1, keepdim=True)  # digits that are passed over
        left -= torch.where(higher > 0, reached.gather(1, (higher - 1).clamp(min=0)), 0)
        prefixes = (prefixes << bits) | ((1 << bits) - 1 - higher).to(torch.int32)
    return prefixes[:, 0].view(torch.float32)


def masked_adam(
    S: Tensor, kth: Tensor, state: dict[str, Tensor], rows: slice, page: int, group: dict[str, Any]
) -> Tensor:
    """Advance the moments by one step where `|S| >= kth` and return the update, `L x n`, zero elsewhere.

    `S` and `kth` are as in `kth_largest`; `state` is that of a batch of matrices, in which every chosen entry
    has a page, of `page` entries; `rows` are those of the batch that `S` is of.
    """
    (L, n), (beta1, beta2) = S.shape, group["betas"]
    step = state["step"][rows].add_(1)
    rate = (group["lr"] / (1 - beta1**step)).to(S.dtype)
    root_correction = (1 - beta2**step).sqrt().to(S.dtype)
    page_of, exp_avg, exp_avg_sq = (state[name][rows] for name in ("page_of", "exp_avg", "exp_avg_sq"))
    update = torch.empty_like(S)
    with torch.cuda.device(S.get_device()):
        _adam[(triton.cdiv(n, BLOCK), L)](
            S, kth, page_of, exp_avg, exp_avg_sq, update, rate, root_correction, n, page_of.shape[1],
            exp_avg.shape[1], 1 - beta1, beta2, 1 - beta2, group["eps"], PAGE=page, BLOCK=BLOCK,
        )  # fmt: skip
    return update
