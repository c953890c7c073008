"""Forward and backward on real tokens alone: the sequences of a batch one after the other, without padding.

A batch comes as the tokenizer pads it, rows x tokens, and the head on top reads it so. In between,
`unpad(model)` has the blocks of the model compute on `1 x T`, the T real tokens, by three public interfaces:

- a hook before the base model takes the real tokens out of the rows, each with its position;
- an attention function of transformers' `AttentionInterface` lets each sequence attend to itself alone;
- a hook after the last block puts the tokens back into their rows, zeros between them.

A head that reads a row's first token needs the last block's MLP at that token alone: where the family allows
it, a hook after the last attention drops the others, whose gradients there are zero.

Where the tokens are comes with the batch (`add_layout`, in the collator): the host never waits for a device.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from .load import first_position
from .random import blocks_of

# model types whose attention goes through the interface, and whose blocks pass on what they do not know
FAMILIES = frozenset({"bert", "camembert", "distilbert", "electra", "llama", "mistral"})
FAMILIES |= {"qwen2", "qwen3", "roberta", "xlm-roberta"}
# those whose head reads the first token, and whose attention module adds its residual itself
FIRST_TOKEN = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})
NAME = "sparsegrad-unpadded"  # of the attention function; without a mask function of this name none is made


def can_unpad(config: PreTrainedConfig) -> bool:
    """Returns whether models of this configuration compute on real tokens alone."""
    return config.model_type in FAMILIES and not getattr(config, "is_decoder", False)


def add_layout(batch: Mapping[str, Tensor], positions: Tensor | None = None) -> dict[str, Tensor]:
    """Returns a padded batch on the CPU with where its real tokens are, sequences of equal length together.

    Adds `tokens` (T), the place of each real token among those of the joined rows; `position_ids` (1 x T);
    and `cu_seq_lens_q` (sequences + 1), where each sequence begins and the last one ends.

    Args:
        batch: with `attention_mask`, rows x tokens.
        positions: of each token in its sequence, rows x tokens; each 0 begins a sequence. None: a row is one.
    """
    mask = batch["attention_mask"].bool()
    if positions is None:
        positions = mask.cumsum(1) - 1
    places = mask.flatten().nonzero().squeeze(1)
    own = positions.flatten()[places]
    sequence = (own == 0).cumsum(0) - 1  # of each token
    lengths = sequence.bincount()
    order = lengths[sequence].argsort(stable=True)
    ends = lengths.sort().values.cumsum(0)
    return {
        **batch,
        "tokens": places[order],
        "position_ids": own[order][None],
        "cu_seq_lens_q": functional.pad(ends, (1, 0)).int(),
    }


def computed_tokens(batch: Mapping[str, Tensor]) -> int:
    """Returns how many tokens the blocks compute on: the real ones, or all where the batch stays padded."""
    return batch.get("tokens", batch["input_ids"]).numel()


def unpad(model: PreTrainedModel) -> None:
    """Have the blocks of `model` compute on real tokens alone; it then takes batches of `add_layout` only.

    Args:
        model: a classifier or causal model of a family that `can_unpad`; it is changed in place, and saved as
            it would be without.
    """
    model.set_attn_implementation(NAME)
    take = partial(_take_tokens, first_position(model))
    model.base_model.register_forward_pre_hook(take, with_kwargs=True)
    last, attention = blocks_of(model)[-1], last_attention(model)
    if attention is None:
        last.register_forward_hook(_put_back, with_kwargs=True)
    else:
        attention.register_forward_hook(_keep_first, with_kwargs=True)
        last.register_forward_hook(_put_back_first, with_kwargs=True)


def last_attention(model: PreTrainedModel) -> nn.Module | None:
    """Returns the attention after which the first token of each row is all that counts; None: all count."""
    if model.config.model_type not in FIRST_TOKEN:
        return None
    return cast(nn.Module, blocks_of(model)[-1].attention)


@dataclass(frozen=True)
class Layout:
    """Where T real tokens are in their padded rows, and which of them belong together."""

    tokens: Tensor  # T: place of each in the joined rows
    shape: torch.Size  # rows x tokens, padding included
    bounds: Tensor  # int32, sequences + 1: where each begins
    runs: tuple[tuple[int, int], ...]  # on a CPU: sequences and tokens of each, where neighbours are as long
    cells: Tensor | None  # elsewhere T: place of each in sequences x tokens, padded for attention


def _take_tokens(
    first: int, base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[()], dict[str, Any]]:
    """Before the base model: rows x tokens become 1 x T."""
    inputs = {**kwargs, **dict(zip(("input_ids",), args, strict=False))}
    if inputs.get("tokens") is None:
        raise ValueError("an unpadded model takes batches of add_layout")
    tokens, bounds = inputs.pop("tokens"), inputs.pop("cu_seq_lens_q")
    shape, positions = inputs["input_ids"].shape, inputs["position_ids"]
    runs: tuple[tuple[int, int], ...] = ()
    cells: Tensor | None = None
    if tokens.is_cpu:
        lengths = Counter(bounds.diff().tolist())
        runs = tuple((count, length) for length, count in sorted(lengths.items()))
    else:
        sequence = torch.searchsorted(bounds, torch.arange(len(tokens), device=tokens.device), right=True) - 1
        cells = sequence * shape[1] + positions[0]
    for name in ("input_ids", "token_type_ids"):
        if inputs.get(name) is not None:
            inputs[name] = inputs[name].flatten()[tokens][None]
    inputs["position_ids"] = positions + first
    inputs["attention_mask"] = None
    if "use_cache" in inputs:  # of a decoder: no sequence is continued
        inputs["use_cache"] = False
    inputs["layout"] = Layout(tokens, shape, bounds, runs, cells)
    return (), inputs


def _put_back(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor) -> Tensor:
    """After the last block: 1 x T x H become rows x tokens x H, zero where there is padding."""
    layout: Layout = kwargs["layout"]
    padded = hidden.new_zeros(layout.shape.numel(), hidden.shape[-1])
    return padded.index_copy(0, layout.tokens, hidden[0]).view(*layout.shape, -1)


def _keep_first(
    attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """After the last attention: 1 x T x H become 1 x sequences x H, the first token of each."""
    layout: Layout = kwargs["layout"]
    states, *others = output
    return states.index_select(1, layout.bounds[:-1]), *others


def _put_back_first(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor
) -> Tensor:
    """After the last block: 1 x sequences x H become rows x 1 x H, in the order of the rows."""
    layout: Layout = kwargs["layout"]
    rows = layout.tokens[layout.bounds[:-1]] // layout.shape[1]
    return torch.zeros_like(hidden[0]).index_copy(0, rows, hidden[0])[:, None]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    layout: Layout,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of each sequence to itself, as `AttentionInterface` wants it.

    Args:
        query: 1 x heads x T x D; `key` and `value` may have fewer heads.
        sliding_window: a token attends to those less than so many places away.

    Returns:
        1 x T x heads x D; no weights.
    """
    causal = bool(getattr(module, "is_causal", False))
    options: dict[str, Any] = {
        "dropout_p": dropout,
        "scale": scaling,
        "enable_gqa": query.shape[1] != key.shape[1],
    }
    kernel = _varlen_kernel()
    if layout.cells is None:
        mixed = attend_by_length(query, key, value, layout.runs, causal, sliding_window, options)
    elif kernel is not None and dropout == 0 and query.dtype in (torch.float16, torch.bfloat16):
        reach = -1 if sliding_window is None else sliding_window - 1
        longest = layout.shape[1]  # at most: the longest itself would have to be waited for
        mixed = kernel(
            *(states[0].transpose(0, 1) for states in (query, key, value)),
            layout.bounds,
            layout.bounds,
            longest,
            longest,
            scale=scaling,
            window_size=(reach, 0 if causal else reach),
            enable_gqa=options["enable_gqa"],
        )
    else:
        mixed = attend_padded(query, key, value, layout, causal, sliding_window, options)
    return mixed[None], None


def attend_by_length(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    runs: tuple[tuple[int, int], ...],
    causal: bool,
    window: int | None,
    options: dict[str, Any],
) -> Tensor:
    """Returns T x heads x D; sequences of equal length, which are neighbours, are computed together."""
    sizes = [count * length for count, length in runs]
    parts = zip(runs, *(states[0].split(sizes, 1) for states in (query, key, value)), strict=True)
    mixed = []
    for (count, length), *states in parts:
        q, k, v = (part.unflatten(1, (count, length)).transpose(0, 1) for part in states)
        mask = _band(length, window, causal, q.device)
        out = functional.scaled_dot_product_attention(
            q, k, v, mask, is_causal=causal and mask is None, **options
        )
        mixed.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(mixed)


def attend_padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    causal: bool,
    window: int | None,
    options: dict[str, Any],
) -> Tensor:
    """Returns T x heads x D: attention alone is padded, where no kernel knows sequences of many lengths."""
    sequences, longest, places = len(layout.bounds) - 1, layout.shape[1], layout.cells
    assert places is not None  # only a batch on a CPU has none

    def padded(states: Tensor) -> Tensor:
        cells = states.new_zeros(sequences * longest, *states.shape[1::2])
        filled = cells.index_copy(0, places, states[0].transpose(0, 1))
        return filled.view(sequences, longest, *cells.shape[1:]).transpose(1, 2)

    mask = _band(longest, window, causal, query.device)
    if not causal:  # a causal one sees no padding: it comes last
        is_real = torch.arange(longest, device=query.device) < layout.bounds.diff()[:, None, None, None]
        itself = torch.eye(
            longest, dtype=torch.bool, device=query.device
        )  # or padding might see nothing: NaN
        mask = is_real if mask is None else is_real & mask | itself
    states = (padded(query), padded(key), padded(value))
    out = functional.scaled_dot_product_attention(*states, mask, is_causal=causal and mask is None, **options)
    return out.transpose(1, 2).flatten(0, 1)[places]


def _band(length: int, window: int | None, causal: bool, device: torch.device) -> Tensor | None:
    """Returns length x length, true where a token (row) sees another; None where the window hides nothing."""
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    ahead = place - place[:, None]
    return (ahead.abs() < window) & (ahead <= 0) if causal else ahead.abs() < window


@cache
def _varlen_kernel() -> Callable[..., Tensor] | None:
    """Returns torch's attention for sequences of many lengths, which is for CUDA; None: it has none yet."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    takes = inspect.signature(varlen_attn).parameters
    if not {"window_size", "enable_gqa"} <= takes.keys():
        return None
    return cast(Callable[..., Tensor], varlen_attn)  # a tuple only with `return_aux`


AttentionInterface.register(NAME, attend)
