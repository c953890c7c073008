"""The interface of an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from ...models.checkpoint import Checkpoint
from ...models.pretrained import LoadedModel
from ...store.schema import RunConfig
from ...tasks.data import TaskData
from ..recipe import Recipe

LossShare = Callable[[object, Tensor, Tensor], Tensor]  # outputs, labels, items in the batch
BatchShapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # input -> shape and type


class Objective(Protocol):
    """What the training of a kind of task needs to know of it."""

    recipe: ClassVar[Recipe]
    scores_start: ClassVar[bool]  # whether the starting model's score says something
    eval_batch_size: ClassVar[int]  # fixed, since padding moves the last bits of a score

    def skeleton(self, checkpoint: Checkpoint) -> PreTrainedModel:
        """The model on the meta device: modules and shapes, no numbers.

        Raises:
            InputError: the checkpoint's model is not one for this kind of task.
        """

    def head(self, model: PreTrainedModel) -> frozenset[str]:
        """Names of the parameters that every method trains in full."""

    def tokenizer(self, config: RunConfig, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """Raises:
        InputError: the checkpoint has none that would do.
        """

    def load(self, config: RunConfig, checkpoint: Checkpoint) -> LoadedModel:
        """The starting model; what is random in it is drawn from torch's generator."""

    def encode(
        self, config: RunConfig, data: TaskData, tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Dataset]:
        """Every split as the rows that the model reads."""

    def indices(self, data: TaskData, split: str, rows: int) -> list[int]:
        """Names of the rows of an encoded split."""

    def collator(
        self, config: RunConfig, tokenizer: PreTrainedTokenizerBase
    ) -> Callable[[list[dict]], dict[str, Tensor]]:
        """From rows to a batch."""

    def shapes(self, model: PreTrainedModel, rows: int, tokens: int) -> BatchShapes:
        """What a training batch of `rows` rows is made of, `tokens` long each."""

    def loss_share(self) -> LossShare | None:
        """What a part adds to the mean loss of its batch; None: transformers' own does that rightly."""

    def scorer(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """For `Trainer(compute_metrics=...)`: metrics named as those of the first dev split are."""

    def shorten(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """For `Trainer(preprocess_logits_for_metrics=...)`."""

    def score_split(
        self, trainer: Trainer, name: str, suffix: str, rows: Dataset, indices: list[int]
    ) -> tuple[dict[str, float], pd.DataFrame]:
        """Metrics of the trainer's model on a split, and one row an example for paired tests."""

    def is_collapsed(self, examples: pd.DataFrame) -> bool:
        """Whether the scored examples show a model that has given up."""
