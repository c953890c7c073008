"""The model that is measured and what it is measured on, found and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from pydantic import PositiveInt
from transformers import PreTrainedModel

from ..core import UnsupportedModelError, find_mlp_linears
from ..errors import InputError
from ..models.checkpoint import Checkpoint, fetch_weights, find_checkpoint
from ..models.pretrained import load_tokenizer
from ..models.random import architecture, check_depth, find_architecture, random_classifier
from ..store.names import Precision
from ..tasks import get_task
from ..tasks.chat.task import ChatTask
from ..tasks.data import TaskData, load_data
from ..tasks.task import Task
from ..training.checks import check_length, choose_device
from ..training.hyperparameters import choose_hyperparameters
from ..training.recipe import GLUE
from .batches import Batch
from .jobs import Setup
from .schema import Init, Subject
from .sources import random_batches, real_batches


@dataclass(frozen=True)
class SubjectChoices:
    """Which model is measured, on what; None stands for a default."""

    model: str
    init: Init = "pretrained"
    layers: PositiveInt | None = None
    task: str | None = None
    data: str = "hub"
    device: str = "auto"
    precision: Precision | None = None
    batch_size: PositiveInt | None = None
    length: int | None = None
    pad_to_max: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """The model and the data, found and checked."""

    subject: Subject
    checkpoint: Checkpoint
    skeleton: PreTrainedModel  # on the meta device, cut to its layers
    data: TaskData | None
    shapes: list[tuple[int, int]]  # O x I of every MLP linear

    def setup(self, batches: str) -> Setup:
        """What a worker is told; `batches` is the file."""
        task = self.data.task if self.data else None
        return Setup(
            subject=self.subject,
            location=self.checkpoint.location,
            num_labels=2 if task is None else len(task.labels or [0]),
            regression=task is not None and task.is_regression,
            batches=batches,
        )

    def batches(self) -> Iterator[Batch]:
        """Batches without end, the same for the same seed."""
        if self.data is not None:
            return real_batches(self.subject, load_tokenizer(self.checkpoint), self.data)
        config = self.skeleton.config
        return random_batches(self.subject, config.vocab_size, config.pad_token_id, config.num_labels)

    def fetch(self) -> None:
        """Downloads the weights, where they are wanted and not there."""
        if self.subject.init == "pretrained":
            fetch_weights(self.checkpoint)


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none, or it is a chat task.
    """
    task = get_task(name)
    if isinstance(task, ChatTask):
        raise InputError(
            f"--task {name}: bench times classifiers, and {name} is a chat task: name a GLUE task "
            "(see sparsegrad ls tasks)"
        )
    return task


def check_precision(precision: Precision | None) -> None:
    """Refuses what is for language models.

    Raises:
        InputError: so it is.
    """
    if precision == "bf16-weights":
        raise InputError("--precision bf16-weights is for chat tasks; bench times classifiers: take bf16")


def find(choices: SubjectChoices, from_shapes: bool = False) -> Found:
    """Finds model and data, and checks them against each other.

    Args:
        from_shapes: a model's directory without weights will do: nothing of it is to be measured.

    Raises:
        InputError: anything that is wrong with them.
    """
    check_precision(choices.precision)
    device = choose_device(choices.device, choices.precision)
    precision = choices.precision or GLUE.precision[device]
    length = choices.length or GLUE.length
    data = load_data(find_task(choices.task), choices.data) if choices.task is not None else None
    random = choices.init == "random"
    if random:
        checkpoint = find_architecture(choices.model)
    else:
        checkpoint = find_checkpoint(choices.model, needs_weights=not from_shapes)
    if data and not checkpoint.location:  # texts need the tokenizer
        checkpoint = find_checkpoint(choices.model)
    config = architecture(checkpoint)
    check_depth(choices.layers, config.num_hidden_layers)
    try:
        with torch.device("meta"):
            skeleton = random_classifier(config, choices.layers).model
        shapes = [tuple(place.linear.weight.shape) for place in find_mlp_linears(skeleton)]
    except UnsupportedModelError as error:
        raise InputError(f"--model: {error}") from None
    check_length(skeleton, choices.model, length)
    task = data.task.name if data else None
    chosen = choose_hyperparameters(choices.model, task, None, choices.batch_size, GLUE)
    subject = Subject(
        model=choices.model,
        checkpoint=f"random:{checkpoint.identity}" if random else checkpoint.identity,
        init=choices.init,
        layers=choices.layers,
        device=device,
        precision=precision,
        batch_size=chosen.batch_size,
        length=length,
        task=task,
        data=choices.data if data else None,
        data_revision=data.sha256 if data else None,
        pad_to_max=choices.pad_to_max,
        seed=choices.seed,
    )
    found = Found(subject, checkpoint, skeleton, data, shapes)
    list(islice(found.batches(), 1))  # a tokenizer that is missing, data that are too few
    return found
