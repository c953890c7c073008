"""Adam's two moments of a matrix, held only where an entry was ever chosen.

The flat positions of a matrix are cut into pages of `PAGE` neighbours. A page gets room for its moments when
one of its entries is first chosen; until then they are zero and take none:

    page_of   int32, one a page of the matrix: its row in the two below, or -1
    exp_avg, exp_avg_sq   rows x PAGE

Looking up `k` entries is two gathers; a sorted list of positions would need a search and a merge a step.
"""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor

PAGE = 8  # entries; the chosen ones are neighbours often enough that smaller pages save little
SPARE = 8  # a store that grows gets 1/8 more than it needs


class Moments(TypedDict):
    """The optimizer's state of one masked matrix, ready for `state_dict`."""

    step: Tensor
    page_of: Tensor
    pages: int  # rows in use
    exp_avg: Tensor
    exp_avg_sq: Tensor


def no_moments(p: Tensor, entries: int | None = None) -> Moments:
    """The state of `p` before its first step; moments are at least float32.

    Args:
        entries: of the gradient in a truncated basis; None: those of `p`.
    """
    entries = p.numel() if entries is None else entries
    dtype = torch.promote_types(p.dtype, torch.float32)
    empty = torch.zeros(0, PAGE, dtype=dtype, device=p.device)
    return Moments(
        step=torch.tensor(0.0),
        page_of=torch.full((-(-entries // PAGE),), -1, dtype=torch.int32, device=p.device),
        pages=0,
        exp_avg=empty,
        exp_avg_sq=empty.clone(),
    )


def places(moments: Moments, entries: Tensor) -> Tensor:
    """Where the moments of `entries` are in the flattened stores; makes room for those that have none.

    Args:
        entries: int64, shape (k,), flat positions in the matrix.
    """
    page_of = moments["page_of"]
    pages = entries // PAGE
    rows = page_of[pages]
    new = pages[rows < 0].unique()
    if len(new):
        first, moments["pages"] = moments["pages"], moments["pages"] + len(new)
        page_of[new] = torch.arange(first, moments["pages"], dtype=torch.int32, device=page_of.device)
        rows = page_of[pages]
        moments["exp_avg"] = _with_room(moments["exp_avg"], moments["pages"], len(page_of))
        moments["exp_avg_sq"] = _with_room(moments["exp_avg_sq"], moments["pages"], len(page_of))
    return rows.long() * PAGE + entries % PAGE


def _with_room(store: Tensor, needed: int, most: int) -> Tensor:
    if needed <= len(store):
        return store
    grown = store.new_zeros(min(needed + needed // SPARE, most), PAGE)
    grown[: len(store)] = store
    return grown


def dense_moment(moments: Moments, name: str, shape: torch.Size) -> Tensor:
    """The moment `name` ("exp_avg", "exp_avg_sq") as a matrix of `shape`, zero where it is not held."""
    page_of = moments["page_of"]
    dense = moments[name].new_zeros(len(page_of), PAGE)
    held = page_of >= 0
    dense[held] = moments[name][page_of[held].long()]
    return dense.flatten()[: shape.numel()].view(shape)
