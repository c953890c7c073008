"""Conversations continued by a language model, under the paper's protocol for LLaMA-2 (section 4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    default_data_collator,
)

from ...models.causal import load_causal, load_causal_config
from ...models.chat import load_chat_tokenizer
from ...models.checkpoint import Checkpoint
from ...models.pretrained import LoadedModel
from ...store.schema import RunConfig
from ...tasks.chat.task import ChatTask
from ...tasks.data import TaskData
from ..pack import IGNORED, encode_threads
from ..recipe import OASST, Recipe
from .base import BatchShapes


class Chat:
    """See `Objective`. The score is the loss: nats a token of the turns that count, over all of them."""

    recipe: ClassVar[Recipe] = OASST
    scores_start: ClassVar[bool] = True
    eval_batch_size: ClassVar[int] = 4  # their logits are tokens x vocabulary each

    def __init__(self, task: ChatTask) -> None:
        self.task = task

    def skeleton(self, checkpoint: Checkpoint) -> PreTrainedModel:
        config = load_causal_config(checkpoint)
        config.use_cache = False  # as `load` does
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)

    def head(self, model: PreTrainedModel) -> frozenset[str]:
        return frozenset()

    def tokenizer(self, config: RunConfig, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        return load_chat_tokenizer(checkpoint, config.chat_format)

    def load(self, config: RunConfig, checkpoint: Checkpoint) -> LoadedModel:
        half = config.precision == "bf16-weights"
        loaded = load_causal(checkpoint, torch.bfloat16 if half else torch.float32)
        loaded.model.config.use_cache = False  # for writing text
        return loaded

    def encode(
        self, config: RunConfig, data: TaskData, tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Dataset]:
        assert config.loss_on is not None
        return encode_threads(data, tokenizer, config.length, config.loss_on)

    def indices(self, data: TaskData, split: str, rows: int) -> list[int]:
        return list(range(rows))

    def collator(
        self, config: RunConfig, tokenizer: PreTrainedTokenizerBase
    ) -> Callable[[list[dict]], dict[str, Tensor]]:
        return default_data_collator

    def shapes(self, model: PreTrainedModel, rows: int, tokens: int) -> BatchShapes:
        names = ("input_ids", "labels")  # sequences are packed: no padding
        return dict.fromkeys(names, ((rows, tokens), torch.int64))

    def loss_share(self) -> None:
        """transformers divides by the tokens that count in the whole batch."""
        return

    def scorer(self) -> Callable[[EvalPrediction], dict[str, float]]:
        suffix = self.task.suffixes[0]
        return lambda prediction: _metrics(prediction.predictions, suffix)

    def shorten(self) -> Callable[[Tensor, Tensor], Tensor]:
        return _losses

    def score_split(
        self, trainer: Trainer, name: str, suffix: str, rows: Dataset, indices: list[int]
    ) -> tuple[dict[str, float], pd.DataFrame]:
        losses = trainer.predict(rows).predictions
        examples = pd.DataFrame(
            {
                "split": name,
                "idx": indices,
                "tokens": losses[:, 1].astype(np.int64),
                "loss": losses[:, 0] / losses[:, 1],
            }
        )
        return _metrics(losses, suffix), examples

    def is_collapsed(self, examples: pd.DataFrame) -> bool:
        return False


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each sequence the summed loss of the tokens that count, and their number: rows x 2, float64."""
    targets = labels[:, 1:]
    losses = torch.stack(
        [
            functional.cross_entropy(row[:-1].float(), target, ignore_index=IGNORED, reduction="sum")
            for row, target in zip(logits, targets, strict=True)
        ]
    )
    return torch.stack([losses.double(), (targets != IGNORED).sum(1).double()], dim=1)


def _metrics(losses: np.ndarray, suffix: str) -> dict[str, float]:
    """From what `_losses` gives."""
    total, tokens = losses.sum(0)
    loss = float(total / tokens)
    return {f"loss{suffix}": loss, f"perplexity{suffix}": math.exp(min(loss, 700.0))}
