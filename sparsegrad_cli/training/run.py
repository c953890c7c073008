"""One run, from its configuration to its folder on disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from transformers import set_seed

from ..core import touched_entries
from ..errors import WorkError
from ..methods import get_method
from ..methods.base import Method, Settings, count_parameters
from ..models.load import LoadedModel, load_classifier
from ..store.atomic import write_atomically
from ..store.environment import describe_environment
from ..store.schema import DataRecord, Result, RunConfig, Status
from .calibration import find_or_calibrate
from .callbacks import DivergedError, PrunedError
from .cell import Cell
from .inputs import Inputs
from .loop import make_trainer, train
from .scoring import score_split

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run(cell: Cell) -> Result:
    """Does a run, or takes it up from its last checkpoint; a finished one is not run again.

    Training that fails gives a result whose status says how; Ctrl-C is recorded too, then raised on.

    Raises:
        InputError: the model cannot be had; no folder is made.
        WorkError: another process does this run, or the disk is full.
    """
    folder = cell.folder
    earlier = folder.result()
    if earlier is not None and earlier.status == "done":
        return earlier
    loaded = load_model(cell.config, cell.inputs)
    with folder.held():
        checkpoint = folder.last_checkpoint()
        before = folder.earlier_restarts()
        restarts = 0 if checkpoint is None or before is None else before + 1
        data = f"sha256:{cell.inputs.data.sha256}"
        folder.begin(describe_environment(cell.inputs.checkpoint.identity, data, restarts))
        try:
            result = _train_and_score(cell, loaded, checkpoint)
        except KeyboardInterrupt:
            folder.finish(_failed(cell, "interrupted", "stopped by the user"))
            raise
        except DivergedError as error:
            result = _failed(cell, "diverged", str(error))
        except PrunedError as error:
            result = _failed(cell, "pruned", str(error))
        except (RuntimeError, MemoryError, ValueError, OSError, SafetensorError) as error:
            if _cannot_write(error):
                folder.last_checkpoint()  # clears away what was cut short
                raise WorkError(
                    f"cannot write to {folder.path} ({error}): make room, and the same command goes on"
                ) from error
            result = _failed(cell, *_reason(error))
        folder.finish(result)
    return result


def load_model(config: RunConfig, inputs: Inputs) -> LoadedModel:
    """The starting model of a run; its head is drawn from the run's seed."""
    task = inputs.data.task
    set_seed(config.seed)
    num_labels = 1 if task.labels is None else len(task.labels)
    return load_classifier(inputs.checkpoint, num_labels, task.is_regression)


def adapt(cell: Cell, loaded: LoadedModel) -> Method:
    """The starting model, made ready by the run's method; what is random is of the run's seed."""
    config = cell.config
    method_class = get_method(config.method)
    basis = cell.basis
    if method_class.needs_basis and basis is None:
        basis = find_or_calibrate(loaded.model, config, cell.inputs, cell.results, cell.watch)
    set_seed(config.seed)
    settings = Settings(
        freeze_rest=config.freeze_rest,
        density=config.density,
        kept=config.kept,
        support=config.support or "dynamic",
        form=config.form or "streamed",
        rank=config.rank,
        sparse_learning_rate=config.sparse_learning_rate,
    )
    return method_class(loaded.model, loaded.head, settings, basis)


def _train_and_score(cell: Cell, loaded: LoadedModel, checkpoint: Path | None) -> Result:
    config, inputs, folder = cell.config, cell.inputs, cell.folder
    model = loaded.model.to(config.device)
    total = sum(p.numel() for p in model.parameters())
    method = adapt(cell, loaded)
    optimizer = method.optimizer(config.learning_rate)
    trainer = make_trainer(model, optimizer, cell)
    trained = train(trainer, optimizer, checkpoint)
    touched = touched_entries(optimizer, method.adapted)
    parameters = count_parameters(method, loaded.head, total, touched)

    plain = method.merge()  # the model that is scored is the one that is saved
    metrics: dict[str, float] = {}
    examples = []
    trainer.compute_metrics = None
    cell.watch.phase("score", len(inputs.reported))
    for done, split in enumerate(inputs.reported, 1):
        found, rows = score_split(trainer, inputs.data.task, split)
        metrics |= found
        examples.append(rows)
        cell.watch.step(done)
    predictions = pd.concat(examples, ignore_index=True)
    write_atomically(folder.path / "predictions.parquet", predictions.to_parquet)
    if cell.keep_model:
        plain.save_pretrained(folder.model)
        inputs.tokenizer.save_pretrained(folder.model)

    task = inputs.data.task
    return Result(
        **_identity(cell),
        status="done",
        error=None,
        score=metrics[task.score_name],
        metrics=metrics,
        selection_score=trained.best_score,
        best_step=trained.best_step,
        steps=trained.steps,
        epochs=trained.epochs,
        steps_per_second=trained.steps_per_second,
        train_seconds=trained.train_seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
        parameters=parameters,
        single_class=not task.is_regression and predictions["prediction"].nunique() == 1,
    )


def _identity(cell: Cell) -> dict[str, str | int | DataRecord]:
    """The keys of a result that are known before the run."""
    config = cell.config
    return {
        "id": config.run_id(),
        "model": config.model,
        "task": config.task,
        "method": config.method,
        "seed": config.seed,
        "protocol": config.protocol,
        "score_name": cell.inputs.data.task.score_name,
        "data": cell.inputs.data.record(),
        "hyperparameters_from": cell.hyperparameters_from,
    }


def _failed(cell: Cell, status: Status, error: str) -> Result:
    return Result(**_identity(cell), status=status, error=error)


def _cannot_write(error: Exception) -> bool:
    """Whether the disk is the trouble; safetensors and torch.save tell it only in words."""
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    return full or any(words in str(error) for words in ("No space left", "file write failed"))


def _reason(error: Exception) -> tuple[Status, str]:
    line = " ".join(str(error).split())
    memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in line
    return ("out-of-memory" if memory else "failed"), f"{type(error).__name__}: {line}"
