"""A model's shape without its weights, to check a plan before anything is loaded."""

from __future__ import annotations

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from .checkpoint import Checkpoint
from .load import load_config


def skeleton(checkpoint: Checkpoint) -> PreTrainedModel:
    """The classifier of `checkpoint` on the meta device: modules and shapes, no numbers.

    Raises:
        InputError: transformers can make no sequence classifier of it.
    """
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(load_config(checkpoint))


def longest_input(model: PreTrainedModel) -> int | None:
    """Tokens that the model has positions for; None where it has no limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    embeddings = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)  # RoBERTa's first position comes after the padding's
    return positions if padding is None else positions - padding - 1
