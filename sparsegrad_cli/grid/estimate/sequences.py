"""How many packed sequences the splits of a chat task make, from a sample: a plan need not encode all."""

from __future__ import annotations

import math

import numpy as np

from ...store.schema import RunConfig
from ...training.encode import tokens_of
from ...training.objectives import objective_of
from ...training.plan import Plan

SAMPLED = 512  # threads; a split of no more is counted whole
SEED = 0

_tokens: dict[tuple[str | None, ...], dict[str, float]] = {}  # many runs share them


def count_sequences(config: RunConfig, plan: Plan) -> dict[str, int]:
    """Sequences in each split, those without a token that counts among them.

    Raises:
        InputError: the tokenizer cannot be read, or has no chat format.
    """
    key = (plan.data.sha256, plan.checkpoint.identity, config.chat_format)
    if key not in _tokens:
        _tokens[key] = _count_tokens(config, plan)
    return {split: math.ceil(tokens / config.length) for split, tokens in _tokens[key].items()}


def _count_tokens(config: RunConfig, plan: Plan) -> dict[str, float]:
    tokenizer = objective_of(plan.data.task).tokenizer(config, plan.checkpoint)
    found = {}
    for split, rows in plan.data.splits.items():
        chosen = np.random.default_rng(SEED).permutation(len(rows))[:SAMPLED]
        counts = [len(tokens_of(thread, tokenizer, "all")[0]) for thread in rows.select(chosen)["messages"]]
        found[split] = sum(counts) / len(counts) * len(rows)
    return found
