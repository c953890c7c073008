"""The model that is measured and its batches: found and checked here, built again in each worker."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from ..config import SETTINGS, Given, Padding
from ..core import UnsupportedModelError, find_mlp_linears
from ..errors import InputError, unknown
from ..models.checkpoint import Checkpoint, fetch_weights, find_checkpoint
from ..models.load import LoadedModel, load_classifier, load_tokenizer
from ..models.random import architecture, check_depth, cut_blocks, find_architecture, random_classifier
from ..models.unpadded import add_layout, unpad
from ..progress import Progress
from ..settings import Record
from ..store.records import Status
from ..tasks import get_task
from ..tasks.load import TaskData, load_data
from ..tasks.task import ChatTask, Task
from ..training.checks import check_length, choose_device, choose_padding
from ..training.encode import encode_pairs
from ..training.objectives import pair_collator
from ..training.resolve import choose_hyperparameters
from ..workers import Died, Failed, Finished, Pool, do_job, run_in_fresh_process
from .config import BenchTarget

Batch = dict[str, Tensor]
Tell = Callable[[str], None]  # shows a line of progress
A = TypeVar("A", bound=BaseModel)
J = TypeVar("J", bound=BaseModel)
BATCHES, BASIS = "batches.safetensors", "basis.safetensors"  # files of a benchmark's scratch folder
# quantiles of the tokens of a training example, special ones included, by BERT's uncased WordPiece
LEVELS = (*np.linspace(0, 0.95, 20), 0.975, 0.99, 0.999, 1)
LENGTHS = {
    task: tuple(map(int, line.split()))
    for task, line in {
        "stsb": "10 15 16 17 18 19 19 20 21 22 23 24 25 26 28 31 35 42 51 60 67 75 93 125",
        "cola": "4 6 7 8 8 9 9 9 10 10 10 11 11 12 12 13 14 15 17 20 22 25 32 47",
        "mnli": "5 16 19 22 24 27 29 31 33 35 37 39 42 44 47 50 53 57 63 73 83 99 158 443",
        "mrpc": "19 32 36 39 41 44 45 47 50 51 53 55 57 59 61 62 64 67 70 74 78 83 97 103",
        "qnli": "13 27 30 33 35 37 39 41 43 45 46 48 50 53 55 58 61 66 71 81 92 106 162 549",
        "qqp": "11 17 19 20 21 22 23 24 25 26 27 29 30 31 33 36 38 42 47 55 63 75 109 312",
        "rte": "13 29 33 37 40 43 45 47 50 53 56 59 62 67 72 85 103 120 135 157 179 197 246 289",
        "sst2": "3 4 4 5 6 6 7 8 8 9 10 11 13 14 16 18 20 23 27 33 39 44 56 66",
    }.items()
}


class Job(Record):
    """What every job of a worker starts from."""

    target: BenchTarget
    location: str  # the checkpoint's folder; empty if the architecture is known by name
    num_labels: int
    is_regression: bool
    pad_token: int
    scratch: str  # folder of BATCHES and BASIS

    def batches(self, first: int, count: int, padding: Padding) -> list[Batch]:
        """Read `count` batches, from number `first` on, onto the device."""
        found: list[Batch] = [{} for _ in range(count)]
        for key, tensor in load_file(Path(self.scratch) / BATCHES).items():
            number, name = key.split("/")
            if first <= int(number) < first + count:
                found[int(number) - first][name] = tensor
        return [
            {name: tensor.to(self.target.device) for name, tensor in self._padded(batch, padding).items()}
            for batch in found
        ]

    def _padded(self, batch: Batch, padding: Padding) -> Batch:
        """Returns a batch, padded to its longest example, as it is to be padded."""
        if padding == "none":
            return add_layout(batch)
        missing = self.target.length - batch["input_ids"].shape[1]
        if padding == "longest" or not missing:
            return batch
        with_what = {"input_ids": self.pad_token}
        return {
            name: tensor if tensor.ndim < 2 else F.pad(tensor, (0, missing), value=with_what.get(name, 0))
            for name, tensor in batch.items()
        }

    def model(self, padding: Padding) -> LoadedModel:
        """Build the classifier on its device, in training mode; the same for the same seed."""
        target = self.target
        set_seed(target.seed)
        identity = target.checkpoint
        checkpoint = Checkpoint(target.model, self.location, identity.rpartition("@")[2], identity)
        if target.init == "random":
            config = architecture(checkpoint)
            with torch.device(target.device):  # drawing a large model on the CPU takes seconds
                loaded = random_classifier(config, target.layers, self.num_labels, self.is_regression)
        else:
            loaded = load_classifier(checkpoint, self.num_labels, self.is_regression)
            if target.layers is not None:
                cut_blocks(loaded.model, target.layers)
        if padding == "none":
            unpad(loaded.model)
        model: nn.Module = loaded.model
        model.to(target.device).train()
        return loaded


class Failure(Record):
    """The answer to a job that failed."""

    status: Status
    error: str


def ask(
    function: Callable[[J, Progress], A], job: J, device: str = "cpu", pool: Pool | None = None
) -> A | Failure:
    """Do a job in a process of its own, or in that of `pool`; a job that fails is not tried again."""
    answer = run_in_fresh_process(function, job, device) if pool is None else do_job(pool, 0, function, job)
    match answer:
        case Finished():
            return answer.value
        case Failed():
            status: Status = "out-of-memory" if answer.reason == "memory" else "failed"
            return Failure(status=status, error=answer.error)
        case Died(signal=signal.SIGKILL):
            return Failure(
                status="out-of-memory", error="the system killed the process, as it does for memory"
            )
        case Died():
            return Failure(status="failed", error=f"the process {answer.how}")


@dataclass(frozen=True)
class ResolvedTarget:
    """A target with its model and its data, found and checked."""

    target: BenchTarget
    checkpoint: Checkpoint
    skeleton: PreTrainedModel  # on the meta device, cut to its layers
    data: TaskData | None
    shapes: list[tuple[int, int]]  # O x I of every MLP linear

    def prepare(self, scratch: Path, batches: int) -> dict[str, Any]:
        """Fetch the weights and write the first `batches`; returns the fields of a `Job`."""
        if self.target.init == "pretrained":
            fetch_weights(self.checkpoint)
        tensors = {
            f"{number}/{name}": tensor.contiguous()
            for number, batch in enumerate(islice(self.batches(), batches))
            for name, tensor in batch.items()
        }
        save_file(tensors, scratch / BATCHES)
        task = self.data.task if self.data else None
        assert not isinstance(task, ChatTask)  # see `find_task`
        return {
            "target": self.target,
            "location": self.checkpoint.location,
            "num_labels": 2 if task is None else len(task.labels or [0]),
            "is_regression": task is not None and task.is_regression,
            "pad_token": self.pad_token,
            "scratch": str(scratch),
        }

    @property
    def pad_token(self) -> int:
        return self.skeleton.config.pad_token_id or 0

    def padding(self, given: Padding | None) -> Padding:
        """Returns what batches are padded to.

        Raises:
            InputError: the model cannot, or there is nothing to pad.
        """
        if self.target.examples is not None:
            return choose_padding(self.skeleton, self.target.model, given)
        if given not in (None, "max"):
            raise InputError(f"--padding {given}: random tokens are all of --length: add --task or --lengths")
        return "max"

    def batches(self) -> Iterator[Batch]:
        """Yields batches without end, the same for the same seed."""
        if self.data is not None:
            return real_batches(self.target, load_tokenizer(self.checkpoint), self.data)
        return random_batches(self.target, self.skeleton.config.vocab_size, self.pad_token)


def find_target(given: Given, shapes_only: bool = False) -> ResolvedTarget:
    """Finds model and data, and checks them against each other.

    Args:
        given: settings by name, those of `config.BenchTarget`.
        shapes_only: a model's directory without weights will do, since nothing of it is to be measured.

    Raises:
        InputError: anything that is wrong with them.
    """
    name, task_name, layers = given.get("model", "demo"), given.get("task"), given.get("layers")
    check_precision(given)
    device = choose_device(given.get("device", "auto"), given.get("precision"))
    length = given.get("length", SETTINGS["length"].default_for(is_chat=False))
    data_from = given.get("data", "hub")
    data = None if task_name is None else load_data(find_task(task_name), data_from)
    is_random = given.get("init") == "random"
    if not is_random:
        checkpoint = find_checkpoint(name, needs_weights=not shapes_only)
    else:
        checkpoint = find_architecture(name)
        if data and not checkpoint.location:  # texts need the tokenizer
            checkpoint = find_checkpoint(name)
    config = architecture(checkpoint)
    check_depth(layers, config.num_hidden_layers)
    try:
        with torch.device("meta"):
            skeleton = random_classifier(config, layers).model
        linears = [place.linear for place in find_mlp_linears(skeleton)]
        shapes = [(linear.out_features, linear.in_features) for linear in linears]
    except UnsupportedModelError as error:
        raise InputError(f"--model: {error}") from None
    check_length(skeleton, name, length)
    task, lengths = data.task.name if data else None, given.get("lengths")
    if lengths is not None and lengths not in LENGTHS:
        raise InputError(f"--lengths: {unknown('task', lengths, LENGTHS)}")
    if lengths is not None and task is not None:
        raise InputError("--lengths and --task exclude one another: give one of them")
    target = BenchTarget(
        model=name,
        checkpoint=f"random:{checkpoint.identity}" if is_random else checkpoint.identity,
        init="random" if is_random else "pretrained",
        layers=layers,
        device=device,
        precision=given.get("precision", "fp32"),
        batch_size=choose_hyperparameters(name, task, None, given.get("batch_size"))[1],
        length=length,
        task=task,
        task_file=task_name if task_name != task else None,
        data=data_from if data else None,
        data_revision=data.sha256 if data else None,
        lengths=lengths,
        seed=given.get("seed", 0),
    )
    found = ResolvedTarget(target, checkpoint, skeleton, data, shapes)
    next(found.batches())  # refuses a tokenizer that is missing, and data that are too few
    return found


def target_of(config: BenchTarget) -> ResolvedTarget:
    """Finds model and data of a benchmark that was planned elsewhere or before.

    Raises:
        InputError: one is not there, or is no longer what it was.
    """
    planned = config.model_dump(include=set(BenchTarget.model_fields))
    given = {name: value for name, value in planned.items() if value is not None}
    found = find_target({**given, "task": config.task_file or config.task})
    if found.target != BenchTarget(**planned):
        raise InputError(
            f"--model {config.model}: the model or its data are not those that the benchmark was planned with"
        )
    return found


def find_task(name: str) -> Task:
    """Returns the task of that name.

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


def check_precision(given: Given) -> None:
    """Refuses a precision that only language models have.

    Raises:
        InputError: it is given.
    """
    if given.get("precision") == "bf16-weights":
        raise InputError("--precision bf16-weights is for chat tasks; bench times classifiers: take bf16")


def random_batches(target: BenchTarget, vocabulary: int, pad_token: int) -> Iterator[Batch]:
    """Yields batches of random tokens without end, all different.

    Every sequence is `target.length` long, or as long as an example of the task `target.lengths` may be.

    Args:
        vocabulary: number of token ids.
        pad_token: the id that no token has.
    """
    generator = torch.Generator().manual_seed(target.seed)
    lengths = torch.full((target.batch_size,), target.length)
    while True:
        if target.lengths is not None:
            lengths = draw_lengths(target.lengths, target.batch_size, target.length, generator)
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        ids = torch.randint(vocabulary - 1, mask.shape, generator=generator)
        yield {
            "input_ids": torch.where(mask.bool(), ids + (ids >= pad_token), pad_token),
            "attention_mask": mask,
            "labels": torch.randint(2, lengths.shape, generator=generator),
        }


def real_batches(target: BenchTarget, tokenizer: PreTrainedTokenizerBase, data: TaskData) -> Iterator[Batch]:
    """Yields batches of shuffled training examples without end, padded to the longest.

    Raises:
        InputError: there are fewer examples than a batch has.
    """
    rows = encode_pairs(data, tokenizer, target.length)[data.task.train]
    if len(rows) < target.batch_size:
        raise InputError(
            f"--batch-size {target.batch_size}: {data.task.name} has {len(rows)} training examples"
        )
    loader = DataLoader(
        rows,
        batch_size=target.batch_size,
        shuffle=True,
        drop_last=True,  # a smaller batch would be a faster step
        generator=torch.Generator().manual_seed(target.seed),
        collate_fn=pair_collator(tokenizer, "longest", target.length),
    )
    yield from (dict(batch) for batch in chain.from_iterable(repeat(loader)))


def draw_lengths(task: str, count: int, longest: int, generator: torch.Generator) -> Tensor:
    """Returns `count` lengths (int64) distributed as those of a task's examples, cut to `longest`."""
    drawn = np.interp(torch.rand(count, generator=generator).numpy(), LEVELS, LENGTHS[task])
    return torch.from_numpy(drawn.round()).long().clamp(max=longest)
