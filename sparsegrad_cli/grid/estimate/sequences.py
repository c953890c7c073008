"""How many packed sequences the splits of a chat task make, from a sample: a plan need not encode all."""

from __future__ import annotations

import math

import numpy as np

from ...config import RunConfig
from ...training.encode import tokens_of
from ...training.objectives import objective_of
from ...training.resolve import Sources

SAMPLED = 512  # threads; a split of no more is counted whole
SEED = 0

_tokens: dict[tuple[str | None, ...], dict[str, float]] = {}  # many runs share them


def count_sequences(config: RunConfig, sources: Sources) -> dict[str, int]:
    """Sequences in each split, those without a token that counts among them.

    Raises:
        InputError: the tokenizer cannot be read, or has no chat format.
    """
    key = (sources.data.sha256, sources.checkpoint.identity, config.chat_format)
    if key not in _tokens:
        _tokens[key] = _count_tokens(config, sources)
    return {split: math.ceil(tokens / config.length) for split, tokens in _tokens[key].items()}


def _count_tokens(config: RunConfig, sources: Sources) -> dict[str, float]:
    tokenizer = objective_of(sources.data.task).tokenizer(config, sources.checkpoint)
    found = {}
    for split, rows in sources.data.splits.items():
        chosen = np.random.default_rng(SEED).permutation(len(rows))[:SAMPLED]
        counts = [len(tokens_of(thread, tokenizer, "all")[0]) for thread in rows.select(chosen)["messages"]]
        found[split] = sum(counts) / len(counts) * len(rows)
    return found
