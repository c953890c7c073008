"""`sparsegrad bench runner`: steps of `finetune` against those of a bare torch loop.

Both are on the same model and data, and take the same number of steps from the same start, turn by turn,
every batch padded to the same length.
A step lasts from the end of the one before it to its own end, so that loading the batch and all callbacks
count. The one step in which `finetune` reads a CPU's peak of memory is among those that burn in.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..config import Given, RunConfig, check_given
from ..models.load import float32_products
from ..progress import NoProgress
from ..settings import config_id
from ..training.resolve import Sources, resolve
from ..training.run import adapt, load_model
from ..training.trainer import Cell, make_trainer
from .config import RUNNER_OPTIONS, BenchTarget, RunnerConfig, RunnerResult, RunnerRow
from .measure import Stopwatch, TrainingStep
from .target import Tell, check_precision, find_task

BURN_IN = 5  # first steps of a turn, which do not count


def plan_runner(given: Given) -> tuple[RunnerConfig, list[RunConfig], Sources]:
    """Returns the runs whose steps are compared: a turn has `steps` that count, and no evaluation.

    Args:
        given: by name, settings of `config.RUNNER_OPTIONS`, and others of a run.

    Raises:
        InputError: see `training.resolve.resolve`; or the task is a chat task.
    """
    own = {"rounds", "steps", "methods", "seed"}
    asked = check_given({name: given[name] for name in own & given.keys()}, RUNNER_OPTIONS)
    find_task(given["task"])
    check_precision(given)
    steps, rounds = (asked.get(name, RUNNER_OPTIONS[name].off) for name in ("steps", "rounds"))
    timed = {name: value for name, value in given.items() if name not in own}
    timed |= {"max_steps": BURN_IN + steps, "eval_steps": BURN_IN + steps + 1, "pad_to_max": True}
    configs, sources = resolve(timed, asked.get("methods", ["ft"]), [asked.get("seed", 0)])
    first = configs[0]
    shared = BenchTarget.model_fields.keys() & RunConfig.model_fields.keys()
    config = RunnerConfig(
        **{name: getattr(first, name) for name in shared},
        checkpoint=sources.checkpoint.identity,
        methods=tuple(each.method for each in configs),
        steps=steps,
        rounds=rounds,
    )
    return config, configs, sources


def run_runner(config: RunnerConfig, configs: list[RunConfig], sources: Sources, tell: Tell) -> RunnerResult:
    """Returns the median step of `finetune` and of the bare loop, for each method."""
    rows = []
    with TemporaryDirectory() as results, float32_products(config.precision):
        for run in configs:
            cell = sources.cell(run, Path(results), NoProgress())
            runner: list[float] = []
            bare: list[float] = []
            for number in range(1, config.rounds + 1):
                tell(f"{run.method}: turn {number} of {config.rounds}")
                runner += _turn_of_the_runner(cell)
                bare += _turn_of_a_bare_loop(cell)
            times = median(runner), median(bare)
            row = RunnerRow(
                method=run.method,
                runner_seconds=times[0],
                bare_seconds=times[1],
                overhead=times[0] / times[1] - 1,
            )
            rows.append(row)
    return RunnerResult(id=config_id(config), rows=tuple(rows))


def _turn_of_the_runner(cell: Cell) -> list[float]:
    model, optimizer = _start(cell)
    cell.folder.path.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(model, optimizer, cell)
    ticks = _Ticks(cell.config.device)
    trainer.add_callback(ticks)
    trainer.train()
    return ticks.watch.seconds()[BURN_IN - 1 :]


def _turn_of_a_bare_loop(cell: Cell) -> list[float]:
    config, inputs = cell.config, cell.inputs
    model, optimizer = _start(cell)
    model.train()
    step = TrainingStep(model, optimizer, config.device, config.precision)
    loader = DataLoader(
        inputs.train, config.batch_size, shuffle=True, drop_last=True, collate_fn=inputs.collator(config)
    )
    watch = Stopwatch(config.device)
    for batch in islice(loader, config.max_steps):
        step({name: tensor.to(config.device) for name, tensor in batch.items()})
        watch.tick()
    return watch.seconds()[BURN_IN - 1 :]


def _start(cell: Cell) -> tuple[nn.Module, Optimizer]:
    loaded = load_model(cell.config, cell.inputs)
    model: nn.Module = loaded.model
    model.to(cell.config.device)
    method = adapt(cell, loaded)
    return method.model, method.optimizer(cell.config.learning_rate)


class _Ticks(TrainerCallback):
    """Marks the end of each step."""

    def __init__(self, device: str) -> None:
        self.watch = Stopwatch(device)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.watch.tick()
