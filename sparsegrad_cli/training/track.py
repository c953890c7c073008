"""What a run tells experiment trackers: its losses, its scores, its id and its configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ..config import Tracker
from ..errors import InputError, unknown

PACKAGES: dict[Tracker, tuple[str, ...]] = {  # any of them will do
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}
ENDS = {"wandb": "finish", "mlflow": "end_run"}  # what ends the run that is active, if there is one
LOGS = "tensorboard"  # a folder in the results folder


@dataclass
class RunArguments(TrainingArguments):
    """Trainer's arguments with the run's configuration: every tracker records the arguments."""

    run_config: dict[str, Any] | None = None


def read_trackers(names: Collection[str]) -> tuple[Tracker, ...]:
    """Returns the trackers of these names.

    Raises:
        InputError: there is no such tracker, or its package is not installed.
    """
    known: dict[str, Tracker] = {name: name for name in get_args(Tracker)}
    for name in names:
        if name not in known:
            raise InputError(f"--report-to: {unknown('tracker', name, known)}")
        if not any(find_spec(package) for package in PACKAGES[known[name]]):
            raise InputError(f"--report-to {name}: it is not installed: pip install 'sparsegrad[{name}]'")
    return tuple(known[name] for name in names)


def tracking_callbacks(names: Sequence[Tracker], results: Path, run_id: str) -> list[TrainerCallback]:
    """Returns transformers' callbacks of the trackers.

    TensorBoard's files go to `results/tensorboard/<run_id>`; where the others write is said by their own
    environment variables.
    """
    callbacks: list[TrainerCallback] = []
    for name in names:
        if name == "tensorboard":
            callback = TensorBoardCallback()
            callback.logging_dir = str(results / LOGS / run_id)
            callbacks.append(callback)
        else:
            os.environ.setdefault("MLFLOW_FLATTEN_PARAMS", "TRUE")  # one value is too short for it all
            callbacks.append(INTEGRATION_TO_CALLBACK[name]())
    return callbacks


@contextmanager
def tracked(names: Sequence[Tracker]) -> Iterator[None]:
    """Let a tracker's run end with ours, however that ends: the next one in this process gets its own.

    What trackers print goes to stderr: stdout is the command's.
    """
    try:
        with redirect_stdout(sys.stderr if names else sys.stdout):
            yield
    finally:
        for name in names:
            if name == "trackio":
                trackio = import_module(name)
                if trackio.context_vars.current_run.get() is not None:
                    trackio.finish()
            elif name in ENDS:
                getattr(import_module(name), ENDS[name])()
