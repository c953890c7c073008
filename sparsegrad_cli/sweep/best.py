"""The best parameters of studies as YAML, for `finetune --params` and `run`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from ..errors import WorkError
from ..store.atomic import write_text
from ..training.params import Best, Params
from .folder import read_sweeps, sweep_folder
from .schema import Sweep

NAME = "best.yaml"
HEADER = "# The best that `sparsegrad sweep` found; `sparsegrad finetune --params` and `run` read it.\n"


def best_path(results: Path, sweep: Sweep) -> Path:
    """Where the best parameters of a study are."""
    return sweep_folder(results, sweep.config) / NAME


def write_best(results: Path, sweeps: Iterable[Sweep]) -> None:
    """Writes `best.yaml` into the folder of each study that has a best trial, and one of all into `sweeps/`.

    Raises:
        WorkError: one cannot be written.
    """
    for sweep in sweeps:
        if sweep.result.best is not None:
            _write(best_path(results, sweep), [best_of(sweep)])
    every = [read.sweep for read in read_sweeps([results])]
    if entries := [best_of(sweep) for sweep in every if sweep.result.best is not None]:
        _write(results / "sweeps" / NAME, entries)


def best_of(sweep: Sweep) -> Best:
    """The entry of a study that has a best trial."""
    config, best = sweep.config, sweep.result.best
    assert best is not None
    return Best(
        model=config.model,
        task=config.task,
        method=config.method,
        params=Params(**best.params),
        score_name=config.score_name,
        score=best.score,
        select_on=config.select_on,
        protocol=config.choices.protocol,
        trials=sweep.result.finished,
        study=sweep.result.id,
    )


def _write(path: Path, entries: Iterable[Best]) -> None:
    plain = [entry.model_dump(exclude_none=True) for entry in entries]
    try:
        write_text(path, HEADER + yaml.safe_dump(plain, sort_keys=False))
    except OSError as error:
        raise WorkError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None
