"""Models with random weights: an architecture is timed or counted without fetching what it learned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from ..core import find_mlp_linears
from ..errors import InputError
from .checkpoint import SHAPES_ONLY, Checkpoint, find_checkpoint
from .load import LoadedModel, classifier_config, head_parameters

_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
_LLAMA_7B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
}
_BERT = {"vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2}
_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_LLAMA = {"vocab_size": 32000, "max_position_embeddings": 4096, "pad_token_id": 0}

# hub name without its owner -> model_type, and the keys of its config.json that decide shapes
KNOWN: dict[str, tuple[str, dict[str, int | float]]] = {
    "bert-base-uncased": ("bert", {**_BERT, **_BASE}),
    "bert-large-uncased": ("bert", {**_BERT, **_LARGE}),
    "roberta-base": ("roberta", {**_ROBERTA, **_BASE}),
    "roberta-large": ("roberta", {**_ROBERTA, **_LARGE}),
    "Llama-2-7b-hf": ("llama", {**_LLAMA, **_LLAMA_7B}),
}


def find_architecture(name: str) -> Checkpoint:
    """Find where the shapes of a model are written down; weights are not asked for.

    Args:
        name: a hub id in `KNOWN`, with or without its owner; a directory that holds a `config.json`; `demo`;
            or any other hub id, of which the small files are fetched.

    Raises:
        InputError: there is nothing of that name, or it is no model.
    """
    folder = Path(name).expanduser()
    if name and name != "demo" and (folder / "config.json").is_file():
        digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        return Checkpoint(name, str(folder), digest, f"{SHAPES_ONLY}{digest}")
    if not folder.exists() and name.rpartition("/")[2] in KNOWN:
        return Checkpoint(name, "", "", f"config:{name.rpartition('/')[2]}")
    return find_checkpoint(name)


def architecture(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Returns the configuration of what `find_architecture` found.

    Raises:
        InputError: transformers can make no sequence classifier of it.
    """
    if checkpoint.location:
        return classifier_config(checkpoint)
    model_type, keys = KNOWN[checkpoint.name.rpartition("/")[2]]
    return AutoConfig.for_model(model_type, **keys)


def random_classifier(
    config: PreTrainedConfig, layers: int | None = None, num_labels: int = 2, regression: bool = False
) -> LoadedModel:
    """Returns a float32 classifier whose weights are all drawn from torch's generator: seed it first.

    Args:
        config: the architecture; it is not changed.
        layers: number of blocks, in place of the configuration's.
        num_labels: classes; 1 for regression.
        regression: whether the loss is the squared error of one output.
    """
    config = type(config).from_dict(config.to_dict())
    config.num_labels = num_labels
    config.problem_type = "regression" if regression else "single_label_classification"
    config.num_hidden_layers = layers or config.num_hidden_layers
    if config.pad_token_id is None:
        config.pad_token_id = 0  # a head on a decoder reads the last token that is not padding
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    return LoadedModel(model, head_parameters(model))


def cut_blocks(model: PreTrainedModel, layers: int) -> None:
    """Take all blocks but the first `layers` out of `model`, in place.

    Raises:
        InputError: it has fewer.
    """
    blocks = blocks_of(model)
    check_depth(layers, len(blocks))
    del blocks[layers:]
    model.config.num_hidden_layers = layers


def blocks_of(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the blocks of `model`, in order."""
    place = find_mlp_linears(model)[0]
    blocks = model.get_submodule(place.name.split(f".{place.block}.")[0])
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def check_depth(layers: int | None, blocks: int) -> None:
    """Refuse to cut a model deeper than it is.

    Raises:
        InputError: `layers` is more than it has.
    """
    if layers is not None and layers > blocks:
        raise InputError(f"--layers {layers}: the model has {blocks} blocks; give at most as many")
