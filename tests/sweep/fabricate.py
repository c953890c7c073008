"""Sweeps as searching would leave them, without training."""

from __future__ import annotations

import hashlib
import math
import random
from pathlib import Path

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.store.records import DataRecord, Environment
from sparsegrad_cli.sweep.records import SWEEPS, Sweep, SweepConfig, SweepResult, TrialRecord
from sparsegrad_cli.sweep.space import Range, Space, Value

OWN = {
    "ft": {},
    "lora": {"rank": 7},
    "meprop": {"density": 0.01},
    "sparsegrad": {"density": 0.01, "mask": "dynamic", "place": "backward", "calibration_steps": 30},
}
ORIGINS = {
    "complete": "folder: glue",
    "partial": "folder: glue",
    "custom": "files: a.csv",
    "synthetic": "demo",
}
UNUSED = ("kept", "density", "mask", "place", "calibration_steps", "basis", "rank")
ENVIRONMENT = Environment(
    started="2026-01-01T00:00:00+00:00",
    command=["sparsegrad"],
    versions={"torch": "2.13.0"},
    hardware={"processor": "x86_64", "threads": 2},
    git_revision="3397e30" + "0" * 33,
    git_dirty=False,
    checkpoint="sha256:" + "ab" * 32,
    data="sha256:" + "d" * 64,
    restarts=0,
)


def make_config(
    method: str = "lora",
    *,
    select_on: str = "dev",
    pruner: str = "median",
    space: dict[str, Range | tuple[Value, ...]] | None = None,
    completeness: str = "complete",
    score_name: str = "accuracy",
    **run: object,
) -> SweepConfig:
    """A study of RTE on the demo model by the paper's space, but for what is given."""
    usual = {
        "model": "demo",
        "task": "rte",
        "data": "hub",
        "data_revision": "d" * 64,
        "seed": 0,
        "protocol": "paper",
        "device": "cpu",
        "precision": "fp32",
        "learning_rate": 5e-5,
        "batch_size": 16,
        "epochs": 20.0,
        "max_steps": None,
        "max_train_examples": None,
        "patience": 5,
        "eval_steps": None,
        "length": 128,
        "padding": "longest",
        "freeze_rest": False,
        **dict.fromkeys(UNUSED),
    }
    given = {**usual, **OWN[method], **run}
    revision = hashlib.sha256(str(given["model"]).encode()).hexdigest()
    template = RunConfig(**{"model_revision": revision, **given}, method=method)
    asked = {name: getattr(template, name) for name in ("model", "task", "data", "protocol")}
    rows = {"train": 2490, "validation": 277}
    return SweepConfig(
        given=asked,
        select_on=select_on,
        pruner=pruner,
        space=Space() if space is None else Space(parameters=space),
        template=template,
        checkpoint=f"sha256:{template.model_revision}",
        score_name=score_name,
        data=DataRecord(origin=ORIGINS[completeness], completeness=completeness, rows=rows),
    )


def make_trial(
    index: int,
    score: float | None = None,
    state: str | None = None,
    *,
    rate: float = 1e-4,
    batch: int = 16,
    **more: object,
) -> TrialRecord:
    """A trial that is complete where it has a score, pruned where it has evaluations, else waiting."""
    evaluations = more.pop("evaluations", {1: score - 0.1, 2: score} if score is not None else {})
    found = "complete" if score is not None else "pruned" if evaluations else "waiting"
    begun = (state or found) != "waiting"
    usual = {
        "params": {"learning_rate": rate, "batch_size": batch} if begun else {},
        "started": f"2026-01-01T00:{index:02}:00+00:00" if begun else None,
        "ended": f"2026-01-01T00:{index:02}:30+00:00" if begun else None,
        "seconds": 30.0 if begun else None,
    }
    known = {
        "index": index,
        "number": index,
        "state": state or found,
        "score": score,
        "evaluations": evaluations,
    }
    return TrialRecord(**{**usual, **known, **more})


def make_sweep(
    config: SweepConfig, *trials: TrialRecord, asked: int | None = None, **importances: float
) -> Sweep:
    """A study with these trials."""
    result = SweepResult(
        id=config.study_id(),
        study=config.study_name(),
        asked=len(trials) if asked is None else asked,
        trials=trials,
        greater_is_better=config.greater_is_better,
        importances=importances,
    )
    return Sweep(Path("sweeps") / result.id, config, result, ENVIRONMENT)


def typical_trials(count: int = 24, seed: int = 0, **params: Value) -> list[TrialRecord]:
    """Good rates in the middle; some trials pruned, one of each kind of failure, one waiting."""
    chosen = random.Random(seed)
    trials = []
    for index in range(count - 4):
        rate, batch = 10 ** chosen.uniform(-6, -1), chosen.choice((8, 16, 32))
        score = 0.53 + 0.25 * math.exp(-((math.log10(rate) + 4.2) ** 2)) + chosen.uniform(-0.02, 0.02)
        given = {"learning_rate": rate, "batch_size": batch, **params}
        if index > 4 and score < 0.57:
            reason = f"evaluation 2: {100 * score:.1f} at best, worse than the median of the others"
            trials.append(
                make_trial(index, evaluations={1: score - 0.02, 2: score}, params=given, reason=reason)
            )
        else:
            trials.append(make_trial(index, score, params=given))
    reasons = {"diverged": "the loss is nan at step 12", "out-of-memory": "CUDA out of memory " * 6}
    for state in ("diverged", "out-of-memory", "failed"):
        reason = reasons.get(state, "its worker died 3 times")
        trials.append(make_trial(len(trials), state=state, rate=0.06, batch=32, reason=reason))
    return [*trials, make_trial(len(trials))]


def write_sweep(results: Path, sweep: Sweep, environment: Environment = ENVIRONMENT) -> Path:
    """Writes a study's three files; gives the folder."""
    folder = SWEEPS.folder(results, sweep.config)
    for name, record in (("config", sweep.config), ("environment", environment), ("result", sweep.result)):
        folder.write(f"{name}.json", record)
    return folder.path
