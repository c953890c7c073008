"""What the runner costs: steps of `finetune` against those of a bare torch loop on the same model and data.

Both take the same number of steps from the same start, turn by turn, every batch padded to the same length.
A step lasts from the end of the one before it to its own end, so that loading the batch and all callbacks
count. The one step in which `finetune` reads a CPU's peak of memory is among those that burn in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..config import Given, RunConfig
from ..progress import NoProgress
from ..settings import config_id
from ..training.resolve import Sources, resolve
from ..training.run import adapt, load_model
from ..training.trainer import Cell, make_trainer
from .machine import set_precision, synchronize
from .plan import check_precision, find_task
from .run import Tell
from .schema import RunnerConfig, RunnerResult, RunnerRow, Subject
from .step import TrainingStep

BURN_IN = 5  # first steps of a turn, which do not count


def plan_runner(
    given: Given, methods: Sequence[str], seed: int, steps: int, rounds: int
) -> tuple[RunnerConfig, list[RunConfig], Sources]:
    """The runs whose steps are compared: a turn has `steps` that count, and no evaluation.

    Raises:
        InputError: see `training.resolve.resolve`; or the task is a chat task.
    """
    find_task(given["task"])
    check_precision(given.get("precision"))
    total = BURN_IN + steps
    timed = {**given, "max_steps": total, "eval_steps": total + 1, "pad_to_max": True}
    configs, sources = resolve(timed, methods, [seed])
    first = configs[0]
    shared = Subject.model_fields.keys() & RunConfig.model_fields.keys()
    config = RunnerConfig(
        **{name: getattr(first, name) for name in shared},
        checkpoint=sources.checkpoint.identity,
        init="pretrained",
        layers=None,
        methods=tuple(config.method for config in configs),
        steps=steps,
        rounds=rounds,
    )
    return config, configs, sources


def run_runner(
    config: RunnerConfig, configs: Sequence[RunConfig], sources: Sources, tell: Tell
) -> RunnerResult:
    """The median steps of `finetune` and of the bare loop, for each method."""
    set_precision(config.precision)
    rows = []
    with TemporaryDirectory() as results:
        for run_config in configs:
            cell = sources.cell(run_config, Path(results), NoProgress())
            runner: list[float] = []
            bare: list[float] = []
            for number in range(1, config.rounds + 1):
                tell(f"{run_config.method}: turn {number} of {config.rounds}")
                runner += _turn_of_the_runner(cell)
                bare += _turn_of_a_bare_loop(cell)
            rows.append(
                RunnerRow(
                    method=run_config.method,
                    runner_seconds=median(runner),
                    bare_seconds=median(bare),
                    overhead=median(runner) / median(bare) - 1,
                )
            )
    return RunnerResult(id=config_id(config), rows=tuple(rows))


def _turn_of_the_runner(cell: Cell) -> list[float]:
    model, optimizer = _start(cell)
    cell.folder.path.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(model, optimizer, cell)
    ticks = _Ticks(cell.config.device)
    trainer.add_callback(ticks)
    trainer.train()
    return _durations(ticks.ends)


def _turn_of_a_bare_loop(cell: Cell) -> list[float]:
    config, inputs = cell.config, cell.inputs
    model, optimizer = _start(cell)
    model.train()
    step = TrainingStep(model, optimizer, config.device, config.precision)
    loader = DataLoader(
        inputs.train, config.batch_size, shuffle=True, drop_last=True, collate_fn=inputs.collator(config)
    )
    ends = []
    for batch in islice(loader, config.max_steps):
        step({name: tensor.to(config.device) for name, tensor in batch.items()})
        synchronize(config.device)
        ends.append(time.perf_counter())
    return _durations(ends)


def _start(cell: Cell) -> tuple[nn.Module, Optimizer]:
    loaded = load_model(cell.config, cell.inputs)
    loaded.model.to(cell.config.device)
    method = adapt(cell, loaded)
    return method.model, method.optimizer(cell.config.learning_rate)


def _durations(ends: Sequence[float]) -> list[float]:
    return [end - begin for begin, end in pairwise(ends[BURN_IN - 1 :])]


class _Ticks(TrainerCallback):
    """When each step ended."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        synchronize(self.device)
        self.ends.append(time.perf_counter())
