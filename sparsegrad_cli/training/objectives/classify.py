"""Text classification and regression, under the paper's protocol for GLUE (section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from ...models.checkpoint import Checkpoint
from ...models.load import load_classifier
from ...models.pretrained import LoadedModel, load_tokenizer
from ...models.random import head_parameters
from ...models.skeleton import skeleton
from ...store.schema import RunConfig
from ...tasks.data import TaskData
from ...tasks.task import Task
from ..encode import encode_pairs
from ..recipe import GLUE, Recipe
from ..scoring import score_classes, selection_scorer
from .base import BatchShapes, LossShare


class Classify:
    """See `Objective`."""

    recipe: ClassVar[Recipe] = GLUE
    scores_start: ClassVar[bool] = False
    eval_batch_size: ClassVar[int] = 64

    def __init__(self, task: Task) -> None:
        self.task = task

    def skeleton(self, checkpoint: Checkpoint) -> PreTrainedModel:
        return skeleton(checkpoint)

    def head(self, model: PreTrainedModel) -> frozenset[str]:
        return head_parameters(model)

    def tokenizer(self, config: RunConfig, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        return load_tokenizer(checkpoint)

    def load(self, config: RunConfig, checkpoint: Checkpoint) -> LoadedModel:
        num_labels = 1 if self.task.labels is None else len(self.task.labels)
        return load_classifier(checkpoint, num_labels, self.task.is_regression)

    def encode(
        self, config: RunConfig, data: TaskData, tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Dataset]:
        return encode_pairs(data, tokenizer, config.length)

    def indices(self, data: TaskData, split: str, rows: int) -> list[int]:
        return data.splits[split]["idx"][:]

    def collator(self, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Pads to the longest of a batch, or to `length`."""
        if config.pad_to_max:
            return DataCollatorWithPadding(tokenizer, padding="max_length", max_length=config.length)
        return DataCollatorWithPadding(tokenizer)

    def shapes(self, model: PreTrainedModel, rows: int, tokens: int) -> BatchShapes:
        labels = torch.float32 if model.config.num_labels == 1 else torch.int64
        return {
            "input_ids": ((rows, tokens), torch.int64),
            "attention_mask": ((rows, tokens), torch.int64),
            "labels": ((rows,), labels),
        }

    def loss_share(self) -> LossShare:
        """The parts of a batch need not be equal at an epoch's end."""
        is_regression = self.task.is_regression

        def share(outputs: SequenceClassifierOutput, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
            logits = outputs.logits
            if is_regression:
                total = functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype), reduction="sum")
            else:
                total = functional.cross_entropy(logits, labels, reduction="sum")
            return total / num_items_in_batch

        return share

    def scorer(self) -> Callable[[EvalPrediction], dict[str, float]]:
        return selection_scorer(self.task)

    def shorten(self) -> None:
        return None

    def score_split(
        self, trainer: Trainer, name: str, suffix: str, rows: Dataset, indices: list[int]
    ) -> tuple[dict[str, float], pd.DataFrame]:
        return score_classes(trainer, self.task, name, suffix, rows, indices)

    def is_collapsed(self, examples: pd.DataFrame) -> bool:
        return not self.task.is_regression and examples["prediction"].nunique() == 1
