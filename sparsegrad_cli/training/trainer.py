"""A run that is to be done, and its training loop: Hugging Face's Trainer under the paper's protocol."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerState

from .. import interrupts
from ..config import ExecutionOptions, RunConfig
from ..core import Basis, SubspaceLinear
from ..errors import WorkError
from ..models.checkpoint import WEIGHTS
from ..progress import Progress
from ..store.folder import RUNS, RunFolder
from ..store.io import write_atomically
from ..store.records import greater_is_better
from ..tasks.load import TaskData
from .callbacks import (
    CheckpointAtSignal,
    CheckpointByClock,
    CostMeter,
    MetricsLog,
    ReportProgress,
    StopAtDivergence,
)
from .inputs import Inputs
from .track import RunArguments, tracking_callbacks


@dataclass(frozen=True)
class PlannedRun:
    """A run that is ready to be done, with its inputs read and encoded."""

    config: RunConfig
    inputs: Inputs
    results: Path  # the results folder
    progress: Progress
    basis: Basis | None = None  # the user's own; None: calibrated for the run where the method needs one
    options: ExecutionOptions = field(default_factory=ExecutionOptions)
    test: TaskData | None = None  # splits without labels, predicted after training

    @property
    def folder(self) -> RunFolder:
        return RUNS.folder(self.results, self.config)


@dataclass(frozen=True)
class Trained:
    """What training came to; the model holds the best checkpoint's weights."""

    steps: int
    epochs: float
    best_score: float | None
    best_step: int | None
    steps_per_second: float | None
    steps_per_second_quartiles: tuple[float, float] | None
    train_seconds: float
    peak_memory_bytes: int | None
    tokens_per_step: float | None


class RunTrainer(Trainer):
    """A Trainer with light checkpoints, that shows its cost meter what a step is made on.

    A step does nothing that is not used: no norm of gradients that are not clipped, no count of FLOPs.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        self.meter.sees_batch(self.model, self.optimizer, inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Returns 0: nobody reads the count."""
        return 0

    def _get_grad_norm(self, model: nn.Module, grad_norm: float | None = None) -> float | None:
        return grad_norm

    @property
    def meter(self) -> CostMeter:
        """The one in use: a restart puts another in place of the one that was given."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, CostMeter))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes what training changes: the rest is what every start of the run begins with."""
        save_changing(self.model, Path(output_dir or self._checkpoints()))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        lay_over(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        lay_over(self.model, _best(self.state, self._checkpoints()))

    def _checkpoints(self) -> Path:
        assert self.args.output_dir is not None
        return Path(self.args.output_dir)


def make_trainer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    planned: PlannedRun,
    accumulation_steps: int = 1,
) -> RunTrainer:
    """A Trainer for one run: no clipping, best checkpoint, early stopping.

    Args:
        optimizer: None where the trainer is only to predict.
        accumulation_steps: equal parts that each batch is worked on in; they make the gradient of the whole.
    """
    config, inputs = planned.config, planned.inputs
    task, objective = inputs.data.task, inputs.objective
    steps = total_steps(config, len(inputs.train))
    when = "epoch" if config.eval_steps is None else "steps"
    warmup, is_constant = min(config.warmup_steps, steps // 3), config.schedule == "constant"
    every = None if config.eval_steps is None else min(config.eval_steps, steps)
    arguments = RunArguments(
        run_config=config.model_dump(mode="json"),
        run_name=f"{config.task} {config.method} seed {config.seed} {config.run_id()}",
        output_dir=str(planned.folder.checkpoints.resolve()),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size // accumulation_steps,
        gradient_accumulation_steps=accumulation_steps,
        per_device_eval_batch_size=objective.eval_batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup" if is_constant and warmup else config.schedule,
        warmup_steps=warmup,
        max_grad_norm=0.0,
        eval_strategy=when,
        eval_steps=every,
        save_strategy=when,
        save_steps=every or 500,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=task.score_name,
        greater_is_better=greater_is_better(task.score_name),
        restore_callback_states_from_checkpoint=True,
        logging_steps=10,
        logging_nan_inf_filter=False,
        bf16=config.precision in ("bf16", "bf16-weights"),
        use_cpu=config.device == "cpu",
        dataloader_pin_memory=config.device == "cuda",
        accelerator_config={"non_blocking": config.device == "cuda"},
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
        label_names=["labels"],
    )
    arguments._n_gpu = 1  # or several visible GPUs would become a DataParallel with n times the batch
    callbacks = [
        StopAtDivergence(),
        MetricsLog(planned.folder.path / "metrics.jsonl"),
        ReportProgress(planned.progress, task.score_name),
        CheckpointByClock(planned.options.checkpoint_seconds),
        CheckpointAtSignal(),
        CostMeter(),  # after those that ask for a checkpoint
    ]
    callbacks += tracking_callbacks(planned.options.report_to, planned.results, config.run_id())
    if config.patience:
        callbacks.append(EarlyStoppingCallback(config.patience))
    trainer = RunTrainer(
        model=model,
        args=arguments,
        data_collator=inputs.collator(config),
        train_dataset=inputs.train,
        eval_dataset=inputs.selection,
        processing_class=inputs.tokenizer,
        compute_metrics=objective.scorer(),
        preprocess_logits_for_metrics=objective.shorten(),
        compute_loss_func=objective.loss_share() if accumulation_steps > 1 else None,
        callbacks=callbacks,
        optimizers=(optimizer, None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def total_steps(config: RunConfig, rows: int) -> int:
    """Optimizer steps of a run that does not stop early, on a train split of so many rows."""
    if config.max_steps is not None:
        return config.max_steps
    return math.ceil(config.epochs * math.ceil(rows / config.batch_size))


def train(trainer: RunTrainer, optimizer: torch.optim.Optimizer, checkpoint: Path | None) -> Trained:
    """Trains to the end, from `checkpoint` if there is one, and leaves the best weights in the model."""
    if checkpoint is not None and _was_over(checkpoint):
        return _take_up_finished(trainer, optimizer, checkpoint)
    with interrupts.deferred(CheckpointAtSignal.AT_MOST):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return _summary(trainer.state, trainer.meter)


def _was_over(checkpoint: Path) -> bool:
    """Whether training had come to its end there: Trainer itself would take one more step."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    stopped = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
    return stopped or state["global_step"] >= state["max_steps"]


def _take_up_finished(trainer: RunTrainer, optimizer: torch.optim.Optimizer, checkpoint: Path) -> Trained:
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    lay_over(trainer.model, _best(state, checkpoint.parent))
    optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True))
    meter = CostMeter.from_state(state.stateful_callbacks["CostMeter"])
    return _summary(state, meter)


def _best(state: TrainerState, checkpoints: Path) -> Path:
    # not by the path that the state holds: the folder may have been moved since
    return checkpoints / f"checkpoint-{state.best_global_step}"


def _summary(state: TrainerState, meter: CostMeter) -> Trained:
    best, speed = state.best_metric, meter.speed_quartiles()
    return Trained(
        steps=state.global_step,
        epochs=round(state.epoch or 0.0, 4),
        best_score=None if best is None else float(best),
        best_step=state.best_global_step,
        steps_per_second=speed[1] if speed else None,
        steps_per_second_quartiles=(speed[0], speed[2]) if speed else None,
        train_seconds=round(meter.train_seconds, 3),
        peak_memory_bytes=meter.peak_bytes or None,
        tokens_per_step=meter.tokens_per_step,
    )


def changing(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: name in the `state_dict` -> the model's own tensor; a tied one once.

    Parameters that take gradients, buffers that are saved, and the weights that adapters merge their values
    into at each step, though these take none.
    """
    adapters = [layer for layer in model.modules() if isinstance(layer, SubspaceLinear)]
    folded = {layer.weight for layer in adapters if layer.merge_each_step}
    names = {name for name, p in model.named_parameters() if p.requires_grad or p in folded}
    names |= {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def save_changing(model: nn.Module, checkpoint: Path) -> None:
    """Writes what training changes in `model`, ready for training, to the folder `checkpoint`, atomically."""
    tensors = {name: tensor.contiguous() for name, tensor in changing(model).items()}
    write_atomically(checkpoint / WEIGHTS, lambda temporary: save_file(tensors, temporary))


def lay_over(model: nn.Module, checkpoint: Path) -> None:
    """Gives what training changes in `model` the values that it has in `checkpoint`; nothing else is read.

    Args:
        model: made ready by the method that the checkpoint's was.

    Raises:
        WorkError: the checkpoint cannot be read, or lacks a tensor that training changes.
    """
    path, tensors = checkpoint / WEIGHTS, changing(model)
    anew = f"delete {checkpoint.parent}, and the same command begins the run anew"
    try:
        with safe_open(path, framework="pt") as file:
            names = tensors.keys() & set(file.keys())
            saved = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise WorkError(f"cannot read {path} ({error}): {anew}") from error
    for name, tensor in tensors.items():
        if name not in saved or saved[name].shape != tensor.shape:
            size = " x ".join(map(str, tensor.shape))
            raise WorkError(f"{path} holds no {name} of {size}, which training changes: {anew}")
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])
