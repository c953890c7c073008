"""One training step of a method, as `finetune` takes it, without what Trainer puts around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, set_seed

from ..errors import InputError
from ..models.checkpoint import Checkpoint
from ..models.load import LoadedModel, load_classifier
from ..models.random import architecture, cut_blocks, random_classifier
from ..tasks.load import TaskData
from ..training.encode import encode_pairs
from .jobs import Setup
from .machine import set_precision, synchronize
from .schema import Subject


class TrainingStep:
    """Forward, backward, optimizer; each can be called alone.

    Args:
        model: ready for training, on its device.
        optimizer: of all that takes gradients.
        device: "cpu" or "cuda".
        precision: "bf16" runs forward under autocast.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str
    ) -> None:
        self.model, self.optimizer, self.device = model, optimizer, device
        self.bf16 = precision == "bf16"

    def __call__(self, batch: Batch) -> None:
        for _, act in self.phases(batch):
            act()

    def phases(self, batch: Batch) -> list[tuple[str, Callable[[], None]]]:
        """The parts of the step on `batch`, in order, by the names of `schema.Phase`."""
        loss: list[Tensor] = []

        def forward() -> None:
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
                loss.append(self.model(**batch).loss)

        def optimize() -> None:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

        return [
            ("forward", forward),
            ("backward", lambda: loss.pop().backward()),
            ("optimizer", optimize),
        ]


def time_steps(step: TrainingStep, batches: Sequence[Batch]) -> list[float]:
    """Seconds of a step on each batch; the clock starts and stops when the device has nothing left to do.

    On CUDA the steps are told apart by events in its stream, so that the processor may run ahead as it does
    in training.
    """
    if step.device == "cuda":
        return _time_on_cuda(step, batches)
    ticks = [time.perf_counter()]
    for batch in batches:
        step(batch)
        ticks.append(time.perf_counter())
    return [end - begin for begin, end in pairwise(ticks)]


def _time_on_cuda(step: TrainingStep, batches: Sequence[Batch]) -> list[float]:
    ticks = [torch.cuda.Event(enable_timing=True) for _ in range(len(batches) + 1)]
    synchronize(step.device)
    ticks[0].record()
    for batch, tick in zip(batches, ticks[1:], strict=True):
        step(batch)
        tick.record()
    synchronize(step.device)
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairwise(ticks)]


Batch = dict[str, Tensor]


def save_batches(batches: Iterator[Batch], count: int, path: Path) -> None:
    """Writes the first `count`."""
    tensors = {
        f"{number}/{name}": tensor.contiguous()
        for number, batch in enumerate(islice(batches, count))
        for name, tensor in batch.items()
    }
    save_file(tensors, path)


def load_batches(path: str, first: int, count: int, device: str) -> list[Batch]:
    """Reads `count` of them, from number `first` on, onto `device`."""
    batches: list[Batch] = [{} for _ in range(count)]
    for key, tensor in load_file(path).items():
        number, name = key.split("/")
        if first <= int(number) < first + count:
            batches[int(number) - first][name] = tensor.to(device)
    return batches


def tokens_of(batch: Batch) -> int:
    """Tokens that are not padding."""
    return int(batch["attention_mask"].sum())


def random_batches(subject: Subject, vocabulary: int, padding: int, num_labels: int) -> Iterator[Batch]:
    """Random tokens without end, every batch another: no padding, every sequence of `subject.length`.

    Args:
        vocabulary: number of token ids.
        padding: the id that is left out.
        num_labels: classes.
    """
    generator = torch.Generator().manual_seed(subject.seed)
    shape = (subject.batch_size, subject.length)
    while True:
        ids = torch.randint(vocabulary - 1, shape, generator=generator)
        yield {
            "input_ids": ids + (ids >= padding),
            "attention_mask": torch.ones(shape, dtype=torch.int64),
            "labels": torch.randint(num_labels, shape[:1], generator=generator),
        }


def real_batches(subject: Subject, tokenizer: PreTrainedTokenizerBase, data: TaskData) -> Iterator[Batch]:
    """Shuffled training examples without end, padded as a run of `finetune` pads them.

    Raises:
        InputError: there are fewer than a batch.
    """
    rows = encode_pairs(data, tokenizer, subject.length)[data.task.train]
    if len(rows) < subject.batch_size:
        raise InputError(
            f"--batch-size {subject.batch_size}: {data.task.name} has {len(rows)} training examples"
        )
    collator = DataCollatorWithPadding(tokenizer)
    if subject.pad_to_max:
        collator = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=subject.length)
    loader = DataLoader(
        rows,
        batch_size=subject.batch_size,
        shuffle=True,
        drop_last=True,  # a smaller batch would be a faster step
        generator=torch.Generator().manual_seed(subject.seed),
        collate_fn=collator,
    )
    while True:
        yield from (dict(batch) for batch in loader)


def build_model(setup: Setup) -> LoadedModel:
    """The classifier on its device, in training mode, the same for the same seed."""
    subject = setup.subject
    set_precision(subject.precision)
    set_seed(subject.seed)
    identity = subject.checkpoint
    checkpoint = Checkpoint(subject.model, setup.location, identity.rpartition("@")[2], identity)
    if subject.init == "random":
        config = architecture(checkpoint)
        loaded = random_classifier(config, subject.layers, setup.num_labels, setup.regression)
    else:
        loaded = load_classifier(checkpoint, setup.num_labels, setup.regression)
        if subject.layers is not None:
            cut_blocks(loaded.model, subject.layers)
    loaded.model.to(subject.device).train()
    return loaded
