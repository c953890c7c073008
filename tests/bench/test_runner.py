"""`bench runner` takes the steps that finetune takes, and as many without it."""

from pathlib import Path

import pytest

from sparsegrad_cli.bench.runner import BURN_IN, plan_runner, run_runner

from ..cells import write_cola
from ..checkpoints import tiny_checkpoint

METHODS = ["ft", "sparsegrad"]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path / "cache"))
    return {
        "model": str(tiny_checkpoint(tmp_path / "model", "bert")),
        "task": "cola",
        "data": str(write_cola(tmp_path / "glue", train=128)),
        "learning_rate": 1e-3,
        "batch_size": 8,
        "calibration_steps": 2,
        "length": 16,
    }


def test_every_method_has_a_row_that_compares_both(given, tmp_path):
    config, configs, sources = plan_runner({**given, "methods": METHODS, "steps": 3, "rounds": 2})
    assert all(run.max_steps == BURN_IN + 3 and run.pad_to_max for run in configs)
    said: list[str] = []
    result = run_runner(config, configs, sources, said.append)
    assert [row.method for row in result.rows] == ["ft", "sparsegrad"]
    assert said == [f"{method}: turn {n} of 2" for method in ("ft", "sparsegrad") for n in (1, 2)]
    for row in result.rows:
        assert row.overhead == pytest.approx(row.runner_seconds / row.bare_seconds - 1)
        assert min(row.runner_seconds, row.bare_seconds) > 0


def test_the_configuration_names_all_that_decides(given):
    config, _, _ = plan_runner({**given, "methods": METHODS, "steps": 3})
    assert (config.bench, config.methods, config.steps) == ("runner", ("ft", "sparsegrad"), 3)
    assert (config.batch_size, config.length, config.pad_to_max, config.task) == (8, 16, True, "cola")
    assert config.data_revision is not None
