"""Folders of chat runs and of judgements as training and a judge would leave them, without either."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sparsegrad_cli.judge.records import JUDGEMENTS, AnswersConfig, JudgeConfig, JudgeResult
from sparsegrad_cli.settings import config_id
from sparsegrad_cli.store.records import Environment, Parameters

from .runs import write_run

CHECKPOINT = "sha256:" + "ab" * 32
TOTAL, MATRICES = 134_515_008, 26_542_080  # SmolLM2-135M: all, and the MLP linears of every third block
PARAMETERS = {
    method: Parameters(total=TOTAL, trainable=moved, adapted=moved, head=0, touched=touched)
    for method, moved, touched in (
        ("ft", MATRICES, MATRICES),
        ("lora", 1_320_960, 1_320_960),
        ("meprop", 53_084, 1_600_000),
        ("sparsegrad", 53_084, 900_000),
    )
}
OWN = {
    "ft": {},
    "lora": {"rank": 32},
    "meprop": {"density": 0.002},
    "sparsegrad": {"density": 0.002, "mask": "dynamic", "place": "optimizer", "calibration_steps": 30},
}
TOKENS = np.random.default_rng(0).integers(40, 512, size=60)  # that count, of each sequence
HARD = np.random.default_rng(1).normal(0.0, 0.4, size=60)  # of each sequence


def write_chat(
    results: Path,
    method: str = "sparsegrad",
    loss: float = 2.0,
    *,
    before: float | None = None,
    sequences: Sequence[float] | None = None,
    selections: Mapping[int, float] | None = None,
    **how: object,
) -> Path:
    """A run whose losses on the sequences have this token-weighted mean."""
    each = np.array(sequences if sequences is not None else HARD)
    each = each - np.average(each, weights=TOKENS) + loss
    config = {
        **{"model": "SmolLM2-135M", "task": "oasst1", "data": "/data/oasst", "completeness": "custom"},
        **{"blocks": "every:3", "schedule": "cosine", "warmup_steps": 50, "gradient_checkpointing": True},
        **{"loss_on": "assistant", "chat_format": "own", "length": 512, "epochs": 1.0, "eval_steps": 75},
        **{"batch_size": 64, "learning_rate": 9e-4, "freeze_rest": True, "checkpoint": CHECKPOINT},
        **{"origin": "file: en_100_tree.jsonl (en)", "rows": {"train": 350, "validation": 50}},
        **{"hyperparameters_from": "options", "parameters": PARAMETERS[method], **OWN[method]},
    }
    metrics = {"loss": loss, "perplexity": math.exp(loss)}
    metrics |= {"loss_before": before} if before is not None else {}
    run = write_run(results, method, metrics=metrics, **{**config, **how})
    predicted = pd.DataFrame(
        {"split": "validation", "idx": range(len(TOKENS)), "tokens": TOKENS, "loss": each}
    )
    predicted.to_parquet(run / "predictions.parquet")
    lines = [
        {"step": step, "epoch": 0.0, "selection": {"loss": value}}
        for step, value in (selections or {}).items()
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def write_judgement(
    results: Path, run: Path | None, score: float, *, unrated: int = 0, answers: Mapping | None = None, **how
) -> Path:
    """A judgement of a run's answers, or of those of the starting checkpoint; the second turn is 1 worse."""
    asked = AnswersConfig(
        **{
            **{
                "model": "SmolLM2-135M",
                "seed": 0,
                "max_new_tokens": 1024,
                "device": "cpu",
                "precision": "fp32",
            },
            **{"checkpoint": CHECKPOINT if run is None else f"sha256:{run.name}", "chat_template": "c" * 16},
            **(answers or {}),
        }
    )
    shared = {"judge_model": "gpt-4", "questions": 80, "question_set": "5e" * 8, "prompts": "default", **how}
    result = {key: shared[key] for key in ("judge_model", "questions", "question_set", "prompts")}
    config = JudgeConfig(
        answers=asked,
        run=run and run.name,
        **{"prompts_asked": "a" * 16, "references": "f" * 16, **shared},
    )
    folder = JUDGEMENTS.folder(results, config)
    done = JudgeResult(
        **result,
        id=config_id(config),
        run=config.run,
        model=asked.model,
        status="done",
        score=score,
        turns={"1": score + 0.5, "2": score - 0.5},
        categories={"math": score - 1, "writing": score + 1},
        rated=160 - unrated,
        unrated=unrated,
        no_reference=0,
        ended={"end of turn": 160},
        ratings=(),
    )
    environment = Environment(
        started="2025-01-01T00:00:00+00:00",
        command=["sparsegrad", "judge"],
        versions={},
        hardware={},
        git_revision=None,
        git_dirty=None,
        checkpoint=asked.checkpoint,
        data="sha256:" + "0" * 64,
        restarts=0,
    )
    folder.begin(environment)
    folder.finish(done)
    return folder.path
