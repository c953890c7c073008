"""Which kernels a device takes where tensors without memory would take others.

    cpu     attention with dropout keeps the scores, their softmax and the dropout's factors; dropout keeps
            its factors as floats: what tensors without memory do too
    cuda    fused attention keeps only its inputs, its output and a sum a row; dropout keeps a byte an element

CUDA's flash kernel takes half precision and no mask; its memory-efficient one takes all else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten


def kernels_of(device: str) -> AbstractContextManager:
    """A context in which `F.dropout` and attention keep for backward what they would on `device`."""
    return _OnCUDA() if device == "cuda" else nullcontext()


class _OnCUDA(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable, types: tuple[type, ...], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention and not kwargs.get("enable_gqa"):
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    given = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
    if attn_mask is None and query.dtype in (torch.float16, torch.bfloat16):
        return aten._scaled_dot_product_flash_attention(query, key, value, **given)[0]
    bias = attn_mask if attn_mask is None or attn_mask.is_floating_point() else attn_mask.to(query.dtype)
    return aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, **given)[0]
