"""Where a model keeps its parameters: MLPs, attention, embeddings (table 1 of the paper)."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ..settings import config_id
from ..store.environment import describe_environment
from ..store.folder import COUNTS
from ..store.records import CountConfig, CountResult, PartCounts
from .random import architecture, find_architecture

IN_BLOCK = re.compile(r"(?:^|\.)layers?\.\d+\.(?P<inside>.+)$")
ATTENTION = re.compile(r"attention|attn")


def store_counts(model: str, results: Path) -> CountResult:
    """Count the parameters of a model from its architecture alone, and store them in `results`.

    Args:
        model: as `find_architecture` takes it: no weights are fetched.

    Raises:
        InputError: there is no such model.
        WorkError: `results` cannot be written.
    """
    found = find_architecture(model)
    config = CountConfig(model=model, architecture=found.identity)
    result = CountResult(id=config_id(config), parts=count_parameters(_as_published(architecture(found))))
    folder = COUNTS.folder(results, config)
    folder.begin(describe_environment(found.identity, "none", restarts=0))
    folder.finish(result)
    return result


def count_parameters(model: nn.Module) -> PartCounts:
    """Count scalars; a tensor that several modules share counts once. No weights are read.

    The linears of a block are its attention's where a module around them is called so, else its MLP's.
    Norms, a pooler and an output layer are none of the three.
    """
    sizes = {"mlp": 0, "embeddings": 0, "attention": 0, "rest": 0}
    counted: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        own = {p for p in module.parameters(recurse=False) if p not in counted}
        sizes[_part(name, module)] += sum(p.numel() for p in own)
        counted |= own
    return PartCounts(total=sum(sizes.values()), **sizes)


def _part(name: str, module: nn.Module) -> str:
    if isinstance(module, nn.Embedding):
        return "embeddings"
    place = IN_BLOCK.search(name)
    if not place or not isinstance(module, nn.Linear):
        return "rest"
    return "attention" if ATTENTION.search(place["inside"]) else "mlp"


def _as_published(config: PreTrainedConfig) -> PreTrainedModel:
    """Returns the model on the meta device: an encoder with its pooler, a decoder with its output layer."""
    encodes = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    decodes = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not encodes
    with torch.device("meta"):
        return (AutoModelForCausalLM if decodes else AutoModel).from_config(config)
