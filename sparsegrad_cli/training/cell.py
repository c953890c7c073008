"""A run that is to be done: its configuration, what it reads, where it writes, who watches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core import Basis
from ..store.run_folder import RunFolder
from ..store.schema import RunConfig
from ..tasks.data import TaskData
from .callbacks import Watch
from .inputs import Inputs


@dataclass(frozen=True)
class Cell:
    """One cell of a table with one seed."""

    config: RunConfig
    inputs: Inputs
    results: Path  # the results folder
    watch: Watch
    basis: Basis | None = None  # the user's own; None: calibrated for the run where the method needs one
    hyperparameters_from: str = "options"
    checkpoint_seconds: float = 600.0  # a checkpoint is written when the last one is this old
    keep_model: bool = True  # whether the trained model is saved in the run's folder
    accumulate_on_oom: bool = False  # begin again with each batch in parts when the memory runs out
    test: TaskData | None = None  # splits without labels, predicted after training

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.results, self.config)
