"""Searches on a chat task, whose score is a loss: the lowest is the best."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.store.records import Result
from sparsegrad_cli.sweep.plan import finetune_command, plan_studies
from sparsegrad_cli.sweep.records import SWEEPS, SearchSettings, SweepConfig, SweepResult
from sparsegrad_cli.sweep.run import BEST, best_of
from sparsegrad_cli.sweep.study import snapshot
from sparsegrad_cli.training.callbacks import ReportProgress

from ..checkpoints import tiny_checkpoint
from ..planned import Asked
from ..tasks.oasst import chain, in_tree, write
from .studies import begin, tiny_config, work


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("inputs")
    trees = [in_tree(chain(f"question {place}", f"answer {place}")) for place in range(40)]
    return {
        "model": str(tiny_checkpoint(folder / "model", "llama", layers=1)),
        "task": "oasst1",
        "data": str(write(folder / "trees.jsonl", trees)),
        "methods": ["lora"],
        "max_steps": 6,
        "eval_steps": 2,
        "length": 32,
        "rank": 2,
    }


def test_the_lowest_loss_is_the_best(choices, tmp_path):
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=3)
    assert study.direction == StudyDirection.MINIMIZE
    result = work(study, tmp_path)
    for record in result.trials:
        folder = SWEEPS.folder(tmp_path, config).path / "runs" / str(record.run)
        kept = Result.model_validate_json((folder / "result.json").read_bytes())
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        losses = [line["selection"]["loss"] for line in lines if "selection" in line]
        assert len(losses) == 3
        assert record.score == kept.selection_score == min(losses)
        run = RunConfig.model_validate_json((folder / "config.json").read_bytes())
        assert run.accumulation_steps == run.batch_size // 2  # parts of two sequences, whatever is drawn
    best = result.best
    assert best is not None
    assert best.score == min(record.score for record in result.trials) == study.best_value
    assert len({record.score for record in result.trials}) == 3
    assert best_of(snapshot(study, tmp_path)).score == best.score
    assert SweepResult.model_validate_json(result.model_dump_json()).best == best


def test_the_median_pruner_ends_the_higher_losses(choices, tmp_path, monkeypatch):
    tell = ReportProgress.on_evaluate
    losses = iter([2.0] * 12 + [1.5] * 3 + [7.25] * 12)

    def evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_loss"] = next(losses)
        tell(self, args, state, control, metrics=metrics, **kwargs)

    monkeypatch.setattr(ReportProgress, "on_evaluate", evaluate)
    study = begin(tiny_config(choices, pruner="median"), tmp_path, trials=4)
    assert work(study, tmp_path).count("complete") == 4
    for rate in (8e-3, 9e-3):
        study.enqueue_trial({"learning_rate": rate, "batch_size": 4})
    lower, higher = work(study, tmp_path).trials[4:]
    assert lower.state == "complete"
    assert (higher.state, higher.evaluations) == ("pruned", {1: 7.25, 2: 7.25})
    assert "7.250 at best, worse than the median" in str(higher.reason)


def test_the_command_that_trains_with_the_best_has_the_options_of_chat(choices, tmp_path):
    given = {"languages": ("en", "all"), "loss_on": "all", "blocks": "0", "freeze_rest": False}
    config = tiny_config(choices, **given)
    study = begin(SweepConfig.model_validate_json(config.model_dump_json()), tmp_path, trials=1)
    sweep = snapshot(study, tmp_path)
    command = finetune_command(sweep.config, sweep.folder / BEST, tmp_path)
    for words in ("--language en --language all", "--loss-on all", "--blocks 0", "--train-rest", "--rank 2"):
        assert f" {words} " in command
    plain = SweepConfig.model_validate_json(tiny_config(choices).model_dump_json())
    assert "--language" not in finetune_command(plain, Path("best.yaml"), tmp_path)


@pytest.mark.parametrize(
    "given", [{"loss_on": "all"}, {"chat_format": "own"}, {"languages": ("de",)}], ids=str
)
def test_options_of_chat_are_refused_for_another_task(choices, given):
    asked = {"model": choices["model"], "data": "demo", **given}
    with pytest.raises(InputError, match="is for chat tasks such as oasst1, rte is none"):
        plan_studies(asked, ["rte"], ["lora"], SearchSettings())


def test_parts_that_do_not_divide_every_batch_are_refused_before_anything_trains(choices):
    with pytest.raises(InputError, match=r"batch_size 4: --accumulation-steps 8 does not divide"):
        tiny_config(choices, accumulation_steps=8)
