"""The language model that a checkpoint holds."""

from __future__ import annotations

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig

from ..errors import InputError
from .checkpoint import Checkpoint
from .pretrained import LoadedModel, load_pretrained, load_tokenizer, read_config


def load_causal_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """The configuration of a decoder: a model that writes text from left to right.

    Raises:
        InputError: it is none; see also `read_config`.
    """
    config = read_config(checkpoint)
    check_decoder(config, checkpoint.option)
    return config


def check_decoder(config: PreTrainedConfig, option: str) -> None:
    """Refuses encoders, though transformers would make (untrained) decoders of some.

    Raises:
        InputError: it is no decoder.
    """
    encodes = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or encodes:
        kind = "an encoder" if encodes else "no language model"
        raise InputError(
            f"{option}: a {config.model_type} model is {kind}, and a chat task needs one that writes "
            "text: take a LLaMA-style decoder such as meta-llama/Llama-2-7b-hf"
        )


def load_causal(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a language model; it has no head that any method would train.

    Args:
        dtype: of the weights.

    Raises:
        InputError: the weights are not there, are damaged or incomplete, or do not fit the configuration.
        WorkError: the hub's cache cannot be written.
    """
    config = load_causal_config(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    return load_pretrained(AutoModelForCausalLM, checkpoint, config, tokenizer, dtype, has_head=False)
