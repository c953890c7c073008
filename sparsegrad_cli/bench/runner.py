"""`sparsegrad bench runner`: the training phase of `finetune` beside what one would write without it.

That is a plain script on transformers' Trainer and PEFT, or a bare torch loop. Both train the same model on
the same batches from the same seed, in turns; each round has another seed and begins with the other side. A
step lasts from the end of the one before it to its own end, so that loading and all callbacks count.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from statistics import geometric_mean, median
from tempfile import TemporaryDirectory

from peft import LoraConfig, get_peft_model
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from ..config import Given, RunConfig, check_given
from ..core import find_mlp_linears
from ..errors import InputError
from ..models.checkpoint import fetch_weights
from ..models.load import float32_products, on_device
from ..progress import NoProgress
from ..settings import config_id
from ..training.inputs import Inputs
from ..training.resolve import Sources, resolve
from ..training.run import adapt, load_model
from ..training.trainer import PlannedRun, make_trainer, total_steps
from .config import RUNNER_OPTIONS, RunnerConfig, RunnerResult, RunnerRow
from .measure import Stopwatch, TrainingStep
from .target import Tell, check_precision, find_task

BURN_IN = 3  # first steps of a turn, which do not count for the speed
OWN = ("tasks", "methods", "seed", "rounds", "beside", "padding", "score")  # settings that are not of a run


@dataclass(frozen=True)
class Turn:
    """What one side came to in one round."""

    seconds: list[float]  # of each step
    score: float | None  # on the selection split, in the end

    @property
    def counted(self) -> list[float]:
        """Seconds of the steps after those that burn in."""
        return self.seconds[min(BURN_IN, len(self.seconds) - 1) :]


def plan_runner(given: Given) -> tuple[RunnerConfig, list[Sources]]:
    """Returns the runs that are compared, and what those of each task start from.

    Args:
        given: by name, settings of `config.RUNNER_OPTIONS`.

    Raises:
        InputError: see `training.resolve.resolve`; or a task or a method that cannot be compared.
    """
    asked = check_given(given, RUNNER_OPTIONS)
    own = {name: asked.get(name, RUNNER_OPTIONS[name].default_for(is_chat=False)) for name in OWN}
    check_precision(given)
    if not own["tasks"]:
        raise InputError("--task: name a GLUE task (see sparsegrad ls tasks)")
    if own["beside"] == "trainer" and not {*own["methods"]} <= {"ft", "lora"}:
        raise InputError("--method: Trainer and PEFT have ft and lora alone; beside --beside loop goes any")
    of_run = {name: value for name, value in asked.items() if name not in OWN}
    if "max_steps" not in of_run:
        of_run.setdefault("epochs", RUNNER_OPTIONS["epochs"].default)
    of_run |= {"patience": 0, "eval_steps": 10**9}  # one evaluation, after the last step
    runs: list[RunConfig] = []
    sources = []
    for task in own["tasks"]:
        find_task(task)
        found, start = resolve({**of_run, "task": task}, own["methods"], [own["seed"]])
        runs += found
        sources.append(start)
    measuring = {name: own[name] for name in OWN[3:]}
    return RunnerConfig(checkpoint=sources[0].checkpoint.identity, runs=tuple(runs), **measuring), sources


def run_runner(config: RunnerConfig, sources: list[Sources], tell: Tell) -> RunnerResult:
    """Train both sides of every task and method, `config.rounds` times in turn.

    Raises:
        InputError: the weights cannot be had.
    """
    rows = []
    per_task = len(config.runs) // len(sources)
    with TemporaryDirectory() as results:
        for number, run in enumerate(config.runs):
            if number % per_task == 0:
                start = sources[number // per_task]
                fetch_weights(start.checkpoint)
                inputs = start.inputs(run)
                if not config.score:
                    inputs = replace(inputs, selection=inputs.selection.select(range(1)))
            with float32_products(run.precision):
                rows.append(_measure(config, run, inputs, Path(results), tell))
    speedups = {
        method: geometric_mean(row.speedup for row in rows if row.method == method)
        for method in dict.fromkeys(row.method for row in rows)
    }
    return RunnerResult(id=config_id(config), rows=tuple(rows), speedups=speedups)


def _measure(config: RunnerConfig, run: RunConfig, inputs: Inputs, results: Path, tell: Tell) -> RunnerRow:
    other = {"trainer": lambda planned: _train(_plain(planned, config.padding), planned), "loop": _loop}[
        config.beside
    ]
    ours: list[Turn] = []
    theirs: list[Turn] = []
    for number in range(config.rounds):
        seed = run.seed + number
        planned = PlannedRun(run.model_copy(update={"seed": seed}), inputs, results / str(seed), NoProgress())
        sides: list[tuple[list[Turn], Callable[[PlannedRun], Turn]]] = [(ours, _finetune), (theirs, other)]
        for turns, take in sides if number % 2 == 0 else reversed(sides):
            turns.append(take(planned))
            gc.collect()  # a Trainer is a cycle, and holds its model
        speeds = [median(ours[-1].counted), median(theirs[-1].counted)]
        tell(
            f"{run.task} {run.method}, round {number + 1} of {config.rounds}: finetune {speeds[0]:.3g} s a "
            f"step, {config.beside} {speeds[1]:.3g} s"
        )
    return RunnerRow(
        task=run.task,
        method=run.method,
        steps=len(ours[0].seconds),
        seconds=median(sum(turn.seconds) for turn in ours),
        other_seconds=median(sum(turn.seconds) for turn in theirs),
        steps_per_second=1 / median(second for turn in ours for second in turn.counted),
        other_steps_per_second=1 / median(second for turn in theirs for second in turn.counted),
        speedup=median(
            their / our
            for turns in zip(ours, theirs, strict=True)
            for our, their in zip(turns[0].counted, turns[1].counted, strict=True)
        ),
        scores=tuple(turn.score for turn in ours if config.score and turn.score is not None),
        other_scores=tuple(turn.score for turn in theirs if config.score and turn.score is not None),
    )


def _finetune(planned: PlannedRun) -> Turn:
    planned.folder.path.mkdir(parents=True, exist_ok=True)
    return _train(make_trainer(*_start(planned), planned), planned)


def _start(planned: PlannedRun) -> tuple[nn.Module, Optimizer]:
    loaded = load_model(planned.config, planned.inputs)
    on_device(loaded.model, planned.config.device)
    method = adapt(planned, loaded)
    return method.model, method.optimizer(planned.config.learning_rate)


def _plain(planned: PlannedRun, padding: str) -> Trainer:
    """Returns what a script of transformers and PEFT would train with: nothing of ours.

    What is trained is what `finetune` trains: with LoRA all but the MLP matrices beside the adapters.
    """
    config, inputs = planned.config, planned.inputs
    task = inputs.data.task
    set_seed(config.seed)
    labels = getattr(task, "labels", None)
    model = AutoModelForSequenceClassification.from_pretrained(
        inputs.checkpoint.location, num_labels=len(labels or [0])
    )
    if config.method == "lora":
        linears = [place.name for place in find_mlp_linears(model)]
        assert config.rank is not None  # `resolve` fills it in
        lora = LoraConfig(task_type="SEQ_CLS", r=config.rank, lora_alpha=config.rank, target_modules=linears)
        model = get_peft_model(model, lora)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("base_layer" not in name and "original_module" not in name)
    steps = total_steps(config, len(inputs.train))
    arguments = TrainingArguments(
        output_dir=str(planned.results / "plain"),
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        max_grad_norm=0.0,
        eval_strategy="steps",
        eval_steps=steps,
        save_strategy="no",
        label_names=["labels"],
        bf16=config.precision == "bf16",
        tf32=True if config.precision == "tf32" else None,
        use_cpu=config.device == "cpu",
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = 1
    to_max = padding == "max"
    trainer = Trainer(
        model,
        arguments,
        data_collator=DataCollatorWithPadding(
            inputs.tokenizer,
            padding="max_length" if to_max else True,
            max_length=config.length if to_max else None,
        ),
        train_dataset=inputs.train,
        eval_dataset=inputs.selection,
        compute_metrics=inputs.objective.scorer(),
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    return trainer


def _train(trainer: Trainer, planned: PlannedRun) -> Turn:
    ticks = _Ticks(planned.config.device)
    trainer.add_callback(ticks)
    trainer.train()
    name = f"eval_{planned.inputs.data.task.score_name}"
    scores = [entry[name] for entry in trainer.state.log_history if name in entry]
    return Turn(ticks.watch.seconds(), scores[-1])


def _loop(planned: PlannedRun) -> Turn:
    """Train in a loop of forward, backward and optimizer, without a score."""
    config, inputs = planned.config, planned.inputs
    model, optimizer = _start(planned)
    model.train()
    step = TrainingStep(model, optimizer, config.device, config.precision)
    loader = DataLoader(inputs.train, config.batch_size, shuffle=True, collate_fn=inputs.collator(config))
    watch = Stopwatch(config.device)
    watch.tick()
    batches = chain.from_iterable(repeat(loader))
    for batch in islice(batches, total_steps(config, len(inputs.train))):
        step({name: tensor.to(config.device) for name, tensor in batch.items()})
        watch.tick()
    return Turn(watch.seconds(), None)


class _Ticks(TrainerCallback):
    """Marks the start of training and the end of each step."""

    def __init__(self, device: str) -> None:
        self.watch = Stopwatch(device)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.watch.tick()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.watch.tick()
