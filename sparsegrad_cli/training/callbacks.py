"""What happens beside the training steps: costs, the log, progress, checkpoints by the clock."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from .. import interrupts
from ..errors import WorkError
from ..models.unpadded import computed_tokens
from ..progress import Progress
from ..store.records import greater_is_better
from .memory import CPUPeak, live_bytes, optimizer_tensors, storage_bytes


class DivergedError(WorkError):
    """A loss, or what a model gives for examples that are scored, is not finite."""


class PrunedError(RuntimeError):
    """Whoever follows the run has ended it: it is not worth its time."""


class CostMeter(TrainerCallback, ExportableState):
    """Speed and peak memory of training steps; what it measured goes on through a restart.

    On a CPU each step is timed. On a GPU `WINDOW` steps are timed together, from one wait for the device to
    the next: a wait in each step would slow it down.

    On a GPU the peak is the caching allocator's over every step. On a CPU it is read, by the profiler, on
    those steps whose batch has more tokens than any before; these do not count for the speed. What the
    optimizer's state has grown by since, as a masked optimizer's does, is added.
    """

    BURN_IN = 3  # steps after a start that do not count for the speed
    WINDOW = 10  # steps; the loss is logged, and so waited for, as often

    def __init__(self) -> None:
        self.step_seconds: list[float] = []  # of a step of each window
        self.train_seconds = 0.0
        self.peak_bytes = 0
        self.peak_without_state = 0  # on a CPU: the same without what the optimizer's state held then
        self.largest_batch = 0  # tokens that are computed on
        self.steps = 0
        self.tokens = 0  # of all steps
        self._fresh_steps = 0
        self._window_steps = 0
        self._window_began = 0.0
        self._began = time.perf_counter()
        self._cpu_peak: CPUPeak | None = None
        self._state_bytes = 0  # of the optimizer, when the step that is profiled began
        self._optimizer: torch.optim.Optimizer | None = None

    def state(self) -> dict:
        self._add_growth()
        kept = ("step_seconds", "peak_bytes", "peak_without_state", "largest_batch", "steps", "tokens")
        return {
            "args": {},
            "attributes": {name: getattr(self, name) for name in kept} | {"train_seconds": self.elapsed()},
        }

    def speed_quartiles(self) -> tuple[float, float, float] | None:
        """Returns the lower quartile, the median and the upper quartile of the speed, in steps per second."""
        if not self.step_seconds:
            return None
        slow, middle, fast = 1 / np.quantile(self.step_seconds, (0.75, 0.5, 0.25))
        return float(slow), float(middle), float(fast)

    @property
    def tokens_per_step(self) -> float | None:
        return self.tokens / self.steps if self.steps else None

    def elapsed(self) -> float:
        """Seconds of training so far, evaluations and checkpoints included, over all restarts."""
        return self.train_seconds + time.perf_counter() - self._began

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._began = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.train_seconds = self.elapsed()
        self._began = time.perf_counter()
        self._add_growth()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self._window_steps:
            return
        if args.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self._window_began = time.perf_counter()

    def sees_batch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]
    ) -> None:
        """Called by the trainer with what the step is about to be made on."""
        tokens = computed_tokens(batch)
        self.tokens += tokens
        self._optimizer = optimizer
        measuring = self._cpu_peak is not None  # an earlier part of the same batch
        larger = tokens > self.largest_batch and self._fresh_steps >= 1
        if batch["input_ids"].is_cpu and larger and not measuring:
            self.largest_batch = tokens
            self._state_bytes = storage_bytes(optimizer_tensors(optimizer))
            self._cpu_peak = CPUPeak()
            self._cpu_peak.start(live_bytes(model, optimizer, batch.values()))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._fresh_steps += 1
        self.steps += 1
        self._window_steps += 1
        alone = args.device.type != "cuda" or self._fresh_steps <= self.BURN_IN
        other_work = control.should_evaluate or control.should_save or control.should_training_stop
        if alone or other_work or self._window_steps == self.WINDOW:
            self._end_window(args.device)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self._window_steps:
            self._end_window(args.device)

    def _end_window(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
            self.peak_bytes = max(self.peak_bytes, torch.cuda.max_memory_allocated())
        seconds = (time.perf_counter() - self._window_began) / self._window_steps
        self._window_steps = 0
        if self._cpu_peak is not None:
            peak = self._cpu_peak.stop()
            self.peak_bytes = max(self.peak_bytes, peak)
            self.peak_without_state = max(self.peak_without_state, peak - self._state_bytes)
            self._cpu_peak = None
        elif self._fresh_steps > self.BURN_IN:
            self.step_seconds.append(round(seconds, 7))

    def _add_growth(self) -> None:
        """Raise the peak to that of the latest step, as if it had been made on the largest batch."""
        if self._optimizer is not None:
            state = storage_bytes(optimizer_tensors(self._optimizer))
            self.peak_bytes = max(self.peak_bytes, self.peak_without_state + state)


class MetricsLog(TrainerCallback):
    """Writes `metrics.jsonl` as the run goes; after a restart, from the checkpoint on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        lines = [line for entry in state.log_history if (line := _log_line(entry))]
        self.path.write_text("".join(lines), encoding="utf-8")

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        line = _log_line({**kwargs["logs"], "step": state.global_step, "epoch": state.epoch or 0.0})
        if line:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)


def _log_line(entry: dict[str, float]) -> str | None:
    where = {"step": int(entry["step"]), "epoch": round(entry["epoch"], 4)}
    metrics = {
        key.removeprefix("eval_"): value
        for key, value in entry.items()
        if key.startswith("eval_") and not key.endswith(("_runtime", "_per_second", "_preparation_time"))
    }
    if metrics:
        return json.dumps({**where, "selection": metrics}) + "\n"
    if "loss" in entry:
        return json.dumps({**where, "loss": entry["loss"]}) + "\n"
    return None


class StopAtDivergence(TrainerCallback):
    """Raises `DivergedError` when a logged loss is not finite; the last log has the mean over all steps."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logs: dict[str, float] = kwargs["logs"]
        for loss in (logs.get("loss", 0.0), logs.get("train_loss", 0.0)):
            if not math.isfinite(loss):
                raise DivergedError(f"the loss is {loss} at step {state.global_step}")


class CheckpointByClock(TrainerCallback):
    """Saves a checkpoint when the last one is `seconds` old, besides those at evaluations."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._saved = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if time.monotonic() - self._saved >= self.seconds:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._saved = time.monotonic()


class CheckpointAtSignal(TrainerCallback):
    """Saves a checkpoint after the step in which a signal asks to stop, and ends training there.

    The `interrupts.deferred` block around training ends it without a checkpoint after `AT_MOST` seconds.
    """

    AT_MOST = 25.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if interrupts.requested():
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if interrupts.requested():
            interrupts.interrupt()


class ReportProgress(TrainerCallback):
    """Reports phases, steps and evaluations to a `Progress`."""

    def __init__(self, progress: Progress, metric: str) -> None:
        self.progress = progress
        self.metric = metric
        self.better = max if greater_is_better(metric) else min
        self.loss: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.progress.phase("train", state.max_steps)
        self.progress.step(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.progress.step(state.global_step, self.loss)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.loss = kwargs["logs"].get("loss", self.loss)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        value: float = kwargs["metrics"][f"eval_{self.metric}"]
        best = value if state.best_metric is None else self.better(value, state.best_metric)
        self.progress.evaluated(self.metric, value, best)
