"""What training needs to know of a kind of task: `Classify` for labels, `Chat` for conversations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    default_data_collator,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from ..config import Padding, RunConfig
from ..models.chat_template import load_chat_tokenizer
from ..models.checkpoint import Checkpoint
from ..models.load import (
    LoadedModel,
    causal_config,
    classifier_on_meta,
    head_parameters,
    load_causal,
    load_classifier,
    load_tokenizer,
    readable,
)
from ..models.unpadded import add_layout
from ..tasks.load import TaskData
from ..tasks.metrics import compute_metrics
from ..tasks.task import ChatTask, Task
from .callbacks import DivergedError
from .encode import IGNORED, encode_pairs, encode_threads

Collator = Callable[[list[dict]], dict[str, Tensor]]
LossShare = Callable[[Any, Tensor, Tensor], Tensor]  # outputs, labels, items in the batch
BatchShapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # input -> shape and type


def pair_collator(tokenizer: PreTrainedTokenizerBase, padding: Padding, length: int) -> Collator:
    """Returns what makes a batch of a classifier's rows, for an unpadded model if `padding` is none."""
    if padding == "max":
        return DataCollatorWithPadding(tokenizer, padding="max_length", max_length=length)
    pad = DataCollatorWithPadding(tokenizer)
    return pad if padding == "longest" else lambda rows: add_layout(pad(rows))


def predict_split(trainer: Trainer, task: Task, name: str, rows: Dataset, indices: list[int]) -> pd.DataFrame:
    """What the trainer's model says of a split without labels, one row an example."""
    return _examples(name, indices, *_predicted(trainer.predict(rows).predictions, task))


def _examples(split: str, indices: list[int], logits: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "split": split,
            "idx": indices,
            "prediction": predicted,
            "logits": list(logits.astype(np.float32)),
        }
    )


def _predicted(output: np.ndarray | tuple[np.ndarray, ...], task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits, examples x outputs, and predictions, one per example.

    Raises:
        DivergedError: not all logits are finite.
    """
    logits = output[0] if isinstance(output, tuple) else output
    broken = len(logits) - int(np.isfinite(logits).all(1).sum())
    if broken:
        raise DivergedError(f"the logits of {broken:,} of {len(logits):,} scored examples are not finite")
    return logits, logits[:, 0] if task.is_regression else logits.argmax(1)


class Classify:
    """A label of a text or of a pair of texts."""

    scores_start: ClassVar[bool] = False  # whether the starting model's score says something
    eval_batch_size: ClassVar[int] = 64  # fixed, since padding moves the last bits of a score

    def __init__(self, task: Task) -> None:
        self.task = task

    def skeleton(self, checkpoint: Checkpoint) -> PreTrainedModel:
        """Returns the model on the meta device: modules and shapes, no numbers.

        Raises:
            InputError: the checkpoint's model is not one for this kind of task.
        """
        return classifier_on_meta(checkpoint)

    def head(self, model: PreTrainedModel) -> frozenset[str]:
        """Returns the names of the parameters that every method trains in full."""
        return head_parameters(model)

    def tokenizer(self, config: RunConfig, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """Returns the tokenizer.

        Raises:
            InputError: the checkpoint has none that would do.
        """
        return load_tokenizer(checkpoint)

    def load(self, config: RunConfig, checkpoint: Checkpoint) -> LoadedModel:
        """Returns the starting model; what is random in it is drawn from torch's generator."""
        num_labels = 1 if self.task.labels is None else len(self.task.labels)
        return load_classifier(checkpoint, num_labels, self.task.is_regression)

    def encode(
        self, config: RunConfig, data: TaskData, tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Dataset]:
        """Returns every split as the rows that the model reads."""
        return encode_pairs(data, tokenizer, config.length)

    def indices(self, data: TaskData, split: str, rows: int) -> list[int]:
        """Returns the names of the rows of an encoded split."""
        return data.splits[split]["idx"][:]

    def collator(self, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
        """Returns what makes a batch of rows."""
        return pair_collator(tokenizer, config.padding, config.length)

    def shapes(self, model: PreTrainedModel, rows: int, tokens: int) -> BatchShapes:
        """Returns what a training batch of `rows` rows is made of, `tokens` long each."""
        labels = torch.float32 if model.config.num_labels == 1 else torch.int64
        return {
            "input_ids": ((rows, tokens), torch.int64),
            "attention_mask": ((rows, tokens), torch.int64),
            "labels": ((rows,), labels),
        }

    def loss_share(self) -> LossShare:
        """Returns what a part adds to the mean loss of its batch: at an epoch's end parts are not equal."""
        is_regression = self.task.is_regression

        def share(outputs: SequenceClassifierOutput, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
            logits = outputs.logits
            assert logits is not None
            if is_regression:
                total = functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype), reduction="sum")
            else:
                total = functional.cross_entropy(logits, labels, reduction="sum")
            return total / num_items_in_batch

        return share

    def scorer(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """For `Trainer(compute_metrics=...)`: metrics named as those of the first dev split are."""

        def score(prediction: EvalPrediction) -> dict[str, float]:
            _, predicted = _predicted(prediction.predictions, self.task)
            found = compute_metrics(self.task, predicted, np.asarray(prediction.label_ids))
            return {f"{name}{self.task.suffixes[0]}": value for name, value in found.items()}

        return score

    def shorten(self) -> None:
        """For `Trainer(preprocess_logits_for_metrics=...)`: nothing, logits are short."""

    def score_split(
        self, trainer: Trainer, name: str, suffix: str, rows: Dataset, indices: list[int]
    ) -> tuple[dict[str, float], pd.DataFrame]:
        """Returns metrics of the trainer's model on a split, and one row an example for paired tests.

        Raises:
            DivergedError: what the model gives is not finite.
        """
        output = trainer.predict(rows)
        logits, predicted = _predicted(output.predictions, self.task)
        found = compute_metrics(self.task, predicted, np.asarray(output.label_ids))
        examples = _examples(name, indices, logits, predicted)
        examples.insert(2, "label", output.label_ids)
        return {f"{metric}{suffix}": value for metric, value in found.items()}, examples

    def is_collapsed(self, examples: pd.DataFrame) -> bool:
        """Returns whether the scored examples show a model that has given up."""
        return not self.task.is_regression and examples["prediction"].nunique() == 1


class Chat:
    """Conversations: the same for them. The score is the loss: nats a token of the turns that count."""

    scores_start: ClassVar[bool] = True
    eval_batch_size: ClassVar[int] = 4  # their logits are tokens x vocabulary each

    def __init__(self, task: ChatTask) -> None:
        self.task = task

    def skeleton(self, checkpoint: Checkpoint) -> PreTrainedModel:
        config = causal_config(checkpoint)
        config.use_cache = False  # as `load` does
        with torch.device("meta"), readable(checkpoint, "config.json"):
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
        return encode_threads(data, tokenizer, config.length, config.loss_on, config.pack_attention)

    def indices(self, data: TaskData, split: str, rows: int) -> list[int]:
        return list(range(rows))

    def collator(self, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
        if config.pack_attention == "across":
            return default_data_collator

        def collate(rows: list[dict]) -> dict[str, Tensor]:
            batch = default_data_collator(rows)
            return add_layout(batch, batch.pop("position_ids"))

        return collate

    def shapes(self, model: PreTrainedModel, rows: int, tokens: int) -> BatchShapes:
        names = ("input_ids", "labels")  # sequences are packed: no padding
        return dict.fromkeys(names, ((rows, tokens), torch.int64))

    def loss_share(self) -> None:
        """transformers divides by the tokens that count in the whole batch."""
        return

    def scorer(self) -> Callable[[EvalPrediction], dict[str, float]]:
        suffix = self.task.suffixes[0]
        return lambda prediction: _metrics(np.asarray(prediction.predictions), suffix)

    def shorten(self) -> Callable[[Tensor, Tensor], Tensor]:
        return _losses

    def score_split(
        self, trainer: Trainer, name: str, suffix: str, rows: Dataset, indices: list[int]
    ) -> tuple[dict[str, float], pd.DataFrame]:
        losses = np.asarray(trainer.predict(rows).predictions)
        examples = pd.DataFrame(
            {
                "split": name,
                "idx": indices,
                "tree": rows["tree"][:],
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
    """Returns the mean loss and the perplexity from what `_losses` gives.

    Raises:
        DivergedError: not all losses are finite.
    """
    broken = len(losses) - int(np.isfinite(losses).all(1).sum())
    if broken:
        raise DivergedError(f"the losses of {broken:,} of {len(losses):,} scored sequences are not finite")
    total, tokens = losses.sum(0)
    loss = float(total / tokens)
    return {f"loss{suffix}": loss, f"perplexity{suffix}": math.exp(min(loss, 700.0))}


Objective = Classify | Chat


def objective_of(task: Task | ChatTask) -> Objective:
    """The objective of a task."""
    return Chat(task) if isinstance(task, ChatTask) else Classify(task)
