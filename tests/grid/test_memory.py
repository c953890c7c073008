"""The table of memory: which runs decide whether all of them fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.grid.estimate import Estimate, Planned, estimate
from sparsegrad_cli.grid.estimate.memory import memory_lines, memory_rows
from sparsegrad_cli.grid.kinds.finetune import KIND
from sparsegrad_cli.grid.read import read_experiment
from sparsegrad_cli.grid.run import CellFilter, plan_cells

from ..checkpoints import tiny_checkpoint
from .grids import Document


@pytest.fixture
def keys(document: Document) -> Document:
    """An experiment on the synthetic tasks, so that there are several."""
    return {"models": document["models"], "data": "demo", "seeds": [0, 1]}


def planned(path: Path) -> tuple[Estimate, list[Planned]]:
    runs = [KIND.planned(cell) for cell in plan_cells(read_experiment(path), CellFilter(), None, "cpu")]
    return estimate(runs, []), runs


def names(path: Path) -> list[str]:
    found, runs = planned(path)
    return [row.name for row in memory_rows(found, [run.config for run in runs])]


def test_of_several_tasks_the_largest_run_stands_for_its_method(write, keys):
    found, runs = planned(write(**keys, tasks=["cola", "rte"], settings={"length": 100}))
    configs = [run.config for run in runs]
    rows = memory_rows(found, configs)
    assert [(row.name, row.task) for row in rows] == [("ft", "rte"), ("sparsegrad", "rte")]  # longer texts
    for row in rows:
        peaks = [
            run.memory.peak
            for run, config in zip(found.runs, configs, strict=True)
            if config.method == row.setting.method
        ]
        assert len(set(peaks)) == 2
        assert row.held.peak == max(peaks)
    head, ft, *_ = memory_lines(found, configs)
    assert head.endswith("in        largest on")
    assert ft.endswith("rte")
    assert ft.index("rte") == head.index("largest on")


def test_only_what_changes_the_memory_has_a_row_of_its_own(write, keys):
    rates = write(
        **keys,
        methods=["ft"],
        vary={"learning_rate": [1e-3, 1e-2]},
        settings={"density": None, "calibration_steps": None, "learning_rate": None},
    )
    assert names(rates) == ["ft"]
    kept = write("kept", **keys, methods=["sparsegrad"], vary={"kept": [10, 20]}, settings={"density": None})
    assert names(kept) == ["sparsegrad kept 10", "sparsegrad kept 20"]
    cases = [{}, {"support": "block"}]
    assert names(write("cases", **keys, cases=cases)) == [
        *("ft", "sparsegrad support dynamic, form streamed", "sparsegrad support block")
    ]


def test_models_and_kinds_of_task_are_told_apart(write, keys, tmp_path):
    llama = str(tiny_checkpoint(tmp_path / "llama", "llama"))
    (bert,) = keys["models"]
    of_ft = {"methods": ["ft"], "settings": {"density": None, "calibration_steps": None}}
    both = write(**{**keys, "models": [bert, llama]}, **of_ft)
    assert names(both) == [f"{bert} ft", f"{llama} ft"]
    found, runs = planned(write("kinds", **{**keys, "models": [llama]}, tasks=["cola", "oasst1"], **of_ft))
    rows = memory_rows(found, [run.config for run in runs])
    assert [(row.name, row.task) for row in rows] == [("ft", "cola"), ("ft", "oasst1")]
