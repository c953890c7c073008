"""The classifier that starts from a checkpoint."""

from __future__ import annotations

import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedConfig
from transformers.modeling_layers import GenericForSequenceClassification

from ..errors import InputError
from .checkpoint import Checkpoint
from .pretrained import LoadedModel, load_pretrained, load_tokenizer, read_config


def load_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """The configuration of a model that transformers can make a sequence classifier of.

    Raises:
        InputError: it cannot; see also `read_config`.
    """
    config = read_config(checkpoint)
    if type(config) not in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise InputError(
            f"{checkpoint.option}: transformers has no sequence classifier for a {config.model_type} model; "
            "take an encoder such as BERT or RoBERTa, or a LLaMA-style decoder"
        )
    return config


def load_classifier(checkpoint: Checkpoint, num_labels: int, regression: bool) -> LoadedModel:
    """Load pretrained weights under a new classification head.

    The head is drawn from torch's generator: seed it first. A head that the checkpoint brings is kept if
    it has `num_labels` outputs.

    Args:
        checkpoint: What to start from.
        num_labels: Classes; 1 for regression.
        regression: Whether the loss is the squared error of one output, not cross entropy.

    Raises:
        InputError: the weights are not there, are damaged or incomplete, or do not fit the configuration.
        WorkError: the hub's cache cannot be written.
    """
    config = load_config(checkpoint)
    config.num_labels = num_labels
    config.problem_type = "regression" if regression else "single_label_classification"
    tokenizer = load_tokenizer(checkpoint)
    loaded = load_pretrained(
        AutoModelForSequenceClassification, checkpoint, config, tokenizer, torch.float32, has_head=True
    )
    model = loaded.model
    if model.config.pad_token_id is None or isinstance(model, GenericForSequenceClassification):
        # a head on a decoder reads the last token that is not padding
        model.config.pad_token_id = tokenizer.pad_token_id
    return loaded
