"""`bench runner` trains what finetune trains, beside a plain script and a bare loop, on the same batches."""

from pathlib import Path
from statistics import geometric_mean

import pytest
from transformers import DataCollatorWithPadding

from sparsegrad_cli.bench.runner import plan_runner, run_runner
from sparsegrad_cli.errors import InputError

from ..checkpoints import tiny_checkpoint
from ..planned import write_cola


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return {
        "model": str(tiny_checkpoint(tmp_path / "model", "bert", layers=1)),
        "tasks": ["cola"],
        "data": str(write_cola(tmp_path / "glue", train=64)),
        "learning_rate": 1e-3,
        "batch_size": 8,
        "length": 16,
        "max_steps": 5,
    }


def compare(given, **how):
    said: list[str] = []
    config, sources = plan_runner({**given, **how})
    return run_runner(config, sources, said.append), said


def test_both_sides_are_timed_and_scored_in_every_round(given):
    result, said = compare(given, methods=["ft", "lora"], rounds=2)
    assert [(row.task, row.method) for row in result.rows] == [("cola", "ft"), ("cola", "lora")]
    assert [line.partition(":")[0] for line in said] == [
        f"cola {method}, round {n} of 2" for method in ("ft", "lora") for n in (1, 2)
    ]
    for row in result.rows:
        assert row.steps == 5
        assert min(row.seconds, row.other_seconds) > 0
        assert len(row.scores) == len(row.other_scores) == 2
        assert result.speedups[row.method] == pytest.approx(geometric_mean([row.speedup]))


def test_both_sides_see_the_same_batches(given, monkeypatch):
    seen: list[list[int]] = []
    pad = DataCollatorWithPadding.__call__

    def note(self, features):
        seen.append([len(row["input_ids"]) for row in features])
        return pad(self, features)

    monkeypatch.setattr(DataCollatorWithPadding, "__call__", note)
    compare(given, methods=["ft"], rounds=1, score=False)
    batches = [lengths for lengths in seen if len(lengths) == 8]
    half = len(batches) // 2
    assert half >= 5
    assert batches[:half] == batches[half:]


def test_a_bare_loop_is_of_any_method_and_is_not_scored(given):
    result, _ = compare(given, methods=["sparsegrad"], rounds=1, beside="loop", calibration_steps=2)
    (row,) = result.rows
    assert (row.method, row.steps, len(row.scores), row.other_scores) == ("sparsegrad", 5, 1, ())


def test_whole_epochs_are_trained_where_no_steps_are_named(given):
    result, _ = compare({**given, "max_steps": None}, methods=["ft"], rounds=1, padding="max")
    assert result.rows[0].steps == 8


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"tasks": []}, "--task: name a GLUE task"),
        ({"methods": ["sparsegrad"]}, "--method: Trainer and PEFT have ft and lora alone"),
        ({"tasks": ["oasst1"]}, "is a chat task"),
    ],
)
def test_what_cannot_be_compared_is_refused(given, how, words):
    with pytest.raises(InputError, match=words):
        plan_runner({**given, **how})
