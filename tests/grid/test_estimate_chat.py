"""What runs on conversations are said to take, against such runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.grid.estimate import Planned, estimate
from sparsegrad_cli.grid.estimate.memory import memory_lines
from sparsegrad_cli.models.checkpoint import WEIGHTS
from sparsegrad_cli.training.run import run

from ..cells import Asked, RecordingWatch, changed, configs_of, make_cell, resolved
from ..checkpoints import tiny_checkpoint


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEGRAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def choices(tmp_path_factory) -> Asked:
    model = tiny_checkpoint(tmp_path_factory.mktemp("llama"), "llama", hidden=64, layers=4, intermediate=176)
    return {
        "model": str(model),
        "task": "oasst1",
        "data": "demo",
        "methods": ["ft"],
        "length": 64,
        "batch_size": 4,
    }


def plan_runs(choices: Asked, **changes: object) -> list[Planned]:
    choices = changed(choices, **changes)
    configs, sources = resolved(choices)
    return [Planned.of(config, sources) for config in configs]


def test_sequences_are_those_that_are_packed(choices):
    (planned,) = plan_runs(choices, protocol="heldout", loss_on="all")
    inputs = make_cell(Path("unused"), RecordingWatch(), changed(choices, loss_on="all")).inputs
    assert planned.train_rows == pytest.approx(len(inputs.train), rel=0.1)
    (dev,) = inputs.reported
    assert planned.selection_rows + planned.reported_rows == len(dev.rows)
    assert planned.longest == planned.padded(4) == 64


def test_a_real_run_is_foretold(choices, tmp_path):
    short = {"methods": ["lora"], "rank": 4, "max_steps": 12, "max_train_examples": 16}
    (planned,) = plan_runs(choices, **short)
    (before,) = estimate([planned], [tmp_path]).runs
    result = run(make_cell(tmp_path, RecordingWatch(), changed(choices, **short)))
    assert result.status == "done"
    assert before.peak_memory_bytes == before.memory.peak
    assert before.peak_memory_bytes == pytest.approx(result.peak_memory_bytes, rel=0.05)
    after = estimate([planned], [tmp_path]).runs[0]
    assert after.memory_how == "measured"
    assert after.memory == before.memory


def test_other_blocks_are_another_calibration(choices):
    sparse = {"methods": ["sparsegrad"], "calibration_steps": 2}
    keys = {
        plan_runs(choices, **sparse, **how)[0].basis_key
        for how in ({}, {"blocks": "all"}, {"basis_rank": 8}, {"loss_on": "all"}, {"density": 0.5})
    }
    assert len(keys) == 4  # the density is not the calibration's


def test_checkpointed_runs_are_not_counted_as_the_others(choices, tmp_path):
    plain, checkpointed = (plan_runs(choices, gradient_checkpointing=asked) for asked in (False, True))
    found = estimate([*plain, *checkpointed], [tmp_path]).runs
    assert found[1].memory.activations < found[0].memory.activations
    assert found[1].seconds > found[0].seconds


def test_a_table_has_a_line_for_each_method(choices, tmp_path):
    runs = plan_runs(choices, methods=["ft", "sparsegrad"], seeds=[0, 1])
    lines = memory_lines(estimate(runs, [tmp_path]), [run.config for run in runs])
    assert lines[0].split() == [
        *("memory", "weights", "basis", "moments", "gradients", "activations", "peak", "in")
    ]
    assert [line.split()[0] for line in lines[1:3]] == ["ft", "sparsegrad"]
    assert "calibration" in lines[-1]
    assert len(lines) == 5


def test_shapes_are_enough_for_a_plan_that_is_not_run(choices, tmp_path):
    folder = shutil.copytree(choices["model"], tmp_path / "shapes")
    (folder / WEIGHTS).unlink()
    of_shapes = changed(choices, model=str(folder))
    found = configs_of(of_shapes, shapes_only=True)
    assert found.checkpoint.identity.startswith("config:sha256:")
    with pytest.raises(InputError, match=WEIGHTS):
        configs_of(of_shapes)
