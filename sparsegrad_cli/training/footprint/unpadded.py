"""Attention where no token is padding: then transformers leaves the mask out, if tensors have numbers."""

from __future__ import annotations

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "sdpa-unpadded"
AttentionInterface.register(NAME, sdpa_attention_forward)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def leave_out_mask(model: PreTrainedModel) -> None:
    """Takes the mask from `model`, in place; its attention goes on being causal where it was."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
