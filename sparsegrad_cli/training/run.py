"""One run, from its configuration to its folder on disk."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer, set_seed

from ..config import RunConfig
from ..errors import DeviceError, DiskError, WorkError, is_device_error, is_disk_full, is_out_of_memory
from ..methods import get_method
from ..methods.base import Method, MethodConfig, count_parameters, touched_entries
from ..models.load import LoadedModel, enable_gradient_checkpointing, float32_products, on_device
from ..models.unpadded import unpad
from ..store.environment import describe_environment
from ..store.folder import RUNS
from ..store.io import write_atomically, write_text
from ..store.records import Result, Status
from ..tasks.load import TaskData
from .basis import find_or_calibrate
from .callbacks import DivergedError, PrunedError
from .export import save_smallest
from .inputs import Inputs
from .predict_test import MODEL, predict_again, write_test_predictions
from .resolve import Sources
from .track import tracked
from .trainer import PlannedRun, make_trainer, total_steps, train


def run(planned: PlannedRun) -> Result:
    """Does a run, or takes it up from its last checkpoint; a finished one is not run again.

    Training that fails gives a result whose status says how; Ctrl-C is recorded too, then raised on. A run
    that may accumulate is begun again when the memory runs out, with each batch in twice as many parts.

    Raises:
        InputError: the model cannot be had; no folder is made.
        WorkError: another process does this run, or the disk is full.
    """
    folder = planned.folder
    earlier = folder.result()
    if earlier is not None and earlier.status == "done":
        if planned.test is not None:
            predict_again(planned, planned.test)
        return earlier
    loaded = load_model(planned.config, planned.inputs)
    with folder.lock():
        earlier = folder.result()  # of another process, while this one loaded the model
        if earlier is not None and earlier.status == "done":
            return earlier
        checkpoint, before = folder.last_checkpoint(), folder.environment()
        parts = planned.config.accumulation_steps
        restarts = 0
        if checkpoint is not None and before is not None:
            parts, restarts = before.accumulation_steps, before.restarts + 1
        result = _attempt(planned, loaded, checkpoint, parts, restarts)
        while result.status == "out-of-memory" and planned.options.accumulate_on_oom:
            parts *= 2
            if planned.config.batch_size % parts:
                break
            folder.drop_checkpoints()
            del loaded  # before its successor comes
            _give_memory_back()
            loaded = load_model(planned.config, planned.inputs)
            result = _attempt(planned, loaded, None, parts, restarts=0)
    return result


def _attempt(
    planned: PlannedRun, loaded: LoadedModel, checkpoint: Path | None, parts: int, restarts: int
) -> Result:
    """Trains from the checkpoint, or from the start, to a result that is on disk, whatever it says."""
    folder = planned.folder
    data = f"sha256:{planned.inputs.data.sha256}"
    folder.begin(describe_environment(planned.inputs.checkpoint.identity, data, restarts, parts))
    try:
        with tracked(planned.options.report_to), float32_products(planned.config.precision):
            result = _train_and_score(planned, loaded, checkpoint, parts)
    except KeyboardInterrupt:
        folder.finish(_failed(planned, "interrupted", "stopped by the user"), keep_checkpoints=True)
        raise
    except DivergedError as error:
        result = _failed(planned, "diverged", str(error))
    except PrunedError as error:
        result = _failed(planned, "pruned", str(error))
    except (RuntimeError, MemoryError, ValueError, OSError, SafetensorError) as error:
        if isinstance(error, DiskError) or is_disk_full(error):
            folder.last_checkpoint()  # clears away what was cut short
            raise DiskError(
                f"cannot write to {folder.path} ({error}): make room, and the same command goes on"
            ) from error
        result = _failed(planned, *_reason(error))
        if is_device_error(error):
            folder.finish(result, keep_checkpoints=True)
            raise DeviceError(f"{result.error} (other runs need a new process)") from error
    folder.finish(result, keep_checkpoints=result.status not in ("done", "pruned", "diverged"))
    return result


def _give_memory_back() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def record_failure(config: RunConfig, sources: Sources, results: Path, error: str) -> Result:
    """Record that a run failed which could not record it itself; its checkpoints stay.

    Raises:
        BusyError: another process does the run.
        DiskError: it cannot be written.
    """
    folder = RUNS.folder(results, config)
    with folder.lock():
        if folder.environment() is None:
            data = f"sha256:{sources.data.sha256}"
            folder.begin(describe_environment(sources.checkpoint.identity, data, restarts=0))
        result = Result(**_identity(config, sources.data), status="failed", error=error)
        folder.finish(result, keep_checkpoints=True)
    return result


def load_model(config: RunConfig, inputs: Inputs) -> LoadedModel:
    """The starting model of a run; its head is drawn from the run's seed."""
    set_seed(config.seed)
    loaded = inputs.objective.load(config, inputs.checkpoint)
    if config.is_unpadded:
        unpad(loaded.model)
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(loaded.model)
    return loaded


def adapt(planned: PlannedRun, loaded: LoadedModel, accumulation_steps: int = 1) -> Method:
    """The starting model, made ready by the run's method; what is random is of the run's seed.

    Args:
        accumulation_steps: parts of a batch.
    """
    config = planned.config
    method_class = get_method(config.method)
    basis, steps = planned.basis, total_steps(config, len(planned.inputs.train))
    method_config = MethodConfig.of(config, accumulation_steps, steps)
    if method_class.calibration(method_config) is not None and basis is None:
        in_parts = config.model_copy(update={"accumulation_steps": accumulation_steps})
        basis = find_or_calibrate(loaded.model, in_parts, planned.inputs, planned.results, planned.progress)
    set_seed(config.seed)
    with float32_products("ieee"):
        return method_class(loaded.model, loaded.head, method_config, basis)


def _train_and_score(planned: PlannedRun, loaded: LoadedModel, checkpoint: Path | None, parts: int) -> Result:
    config, inputs, folder = planned.config, planned.inputs, planned.folder
    model = on_device(loaded.model, config.device)
    total = sum(p.numel() for p in model.parameters())
    method = adapt(planned, loaded, parts)
    optimizer = method.optimizer(config.learning_rate)
    trainer = make_trainer(model, optimizer, planned, parts)
    before = score_start(trainer, planned)
    trained = train(trainer, optimizer, checkpoint)
    touched = touched_entries(optimizer, method.adapted)
    parameters = count_parameters(method, loaded.head, total, touched)

    # the model that is scored is the one that is saved; but bf16 arithmetic would round what is merged away
    plain = None if config.precision == "bf16-weights" else _merge(method)
    metrics: dict[str, float] = {}
    examples = []
    trainer.compute_metrics = None
    planned.progress.phase("score", len(inputs.reported))
    for done, split in enumerate(inputs.reported, 1):
        found, rows = inputs.objective.score_split(
            trainer, split.name, split.suffix, split.rows, split.indices
        )
        metrics |= found
        examples.append(rows)
        planned.progress.step(done)
    predictions = pd.concat(examples, ignore_index=True)
    write_atomically(folder.path / "predictions.parquet", predictions.to_parquet)
    if planned.test is not None:
        write_test_predictions(trainer, planned, planned.test)
    if planned.options.keep_model:
        plain = plain or _merge(method)
        loaded.save(plain, folder.path / MODEL)
        inputs.tokenizer.save_pretrained(folder.path / MODEL)
    elif planned.options.keep_adapter:
        save_smallest(plain or _merge(method), loaded, config, folder.path, trained.steps)

    task = inputs.data.task
    return Result(
        **_identity(planned.config, planned.inputs.data),
        status="done",
        error=None,
        score=metrics[task.score_name],
        metrics=metrics | before,
        selection_score=trained.best_score,
        best_step=trained.best_step,
        steps=trained.steps,
        epochs=trained.epochs,
        steps_per_second=trained.steps_per_second,
        steps_per_second_quartiles=trained.steps_per_second_quartiles,
        train_seconds=trained.train_seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
        tokens_per_step=trained.tokens_per_step,
        parameters=parameters,
        accumulation_steps=parts,
        single_class=inputs.objective.is_collapsed(predictions),
    )


def _merge(method: Method) -> PreTrainedModel:
    with float32_products("ieee"):
        plain = method.merge()
    assert isinstance(plain, PreTrainedModel)
    return plain


def _identity(config: RunConfig, data: TaskData) -> dict[str, Any]:
    """Returns the keys of a result that are known before the run."""
    return {
        "id": config.run_id(),
        "model": config.model,
        "task": config.task,
        "method": config.method,
        "seed": config.seed,
        "protocol": config.protocol,
        "score_name": data.task.score_name,
        "data": data.record(),
        "hyperparameters_from": config.hyperparameters_from,
    }


def _failed(planned: PlannedRun, status: Status, error: str) -> Result:
    return Result(**_identity(planned.config, planned.inputs.data), status=status, error=error)


def _reason(error: Exception) -> tuple[Status, str]:
    line = " ".join(str(error).split())
    if isinstance(error, WorkError):
        return "failed", line
    return ("out-of-memory" if is_out_of_memory(error) else "failed"), f"{type(error).__name__}: {line}"


START = "start.json"  # in the run's folder, so that a run that is taken up again need not ask twice
BEFORE = "_before"  # after the metrics' names


def score_start(trainer: Trainer, planned: PlannedRun) -> dict[str, float]:
    """Metrics of the model before its first step on the reported splits; none of a classifier's new head."""
    objective = planned.inputs.objective
    if not objective.scores_start:
        return {}
    path = planned.folder.path / START
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, float] = {}
    planned.progress.phase("score", len(planned.inputs.reported))
    devices = [torch.cuda.current_device()] if planned.config.device == "cuda" else []
    with torch.random.fork_rng(devices):  # or a run that is taken up again, and does not score, draws others
        for done, split in enumerate(planned.inputs.reported, 1):
            metrics, _ = objective.score_split(trainer, split.name, split.suffix, split.rows, split.indices)
            found |= {f"{name}{BEFORE}": value for name, value in metrics.items()}
            planned.progress.step(done)
    write_text(path, json.dumps(found, indent=2) + "\n")
    return found
