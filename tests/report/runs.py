"""Run folders as training would leave them, without training."""

from __future__ import annotations

from pathlib import Path

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.store.folder import RUNS
from sparsegrad_cli.store.records import DataRecord, Environment, Parameters, Result

METRICS = {
    "cola": ["matthews_correlation"],
    "stsb": ["pearson", "spearman"],
    "mnli": ["accuracy_m", "accuracy_mm"],
}
METRICS |= {"mrpc": ["accuracy", "f1"], "qqp": ["accuracy", "f1"]}
CONFIG = RunConfig(
    model="demo",
    model_revision="c0ffee",
    task="cola",
    data="hub",
    data_revision="d" * 64,
    method="ft",
    seed=0,
    protocol="paper",
    device="cpu",
    precision="fp32",
    learning_rate=1e-4,
    batch_size=16,
    epochs=20.0,
    max_steps=None,
    max_train_examples=None,
    patience=5,
    eval_steps=None,
    length=128,
    padding="longest",
    freeze_rest=False,
    kept=None,
    density=None,
    mask=None,
    place=None,
    calibration_steps=None,
    basis=None,
    rank=None,
)
OWN = {
    "ft": {},
    "lora": {"rank": 7},
    "meprop": {"density": 0.01},
    "sparsegrad": {"density": 0.01, "mask": "dynamic", "place": "backward", "calibration_steps": 30},
}
PARAMETERS = {
    "ft": Parameters(total=22_713_986, trainable=22_713_986, adapted=7_077_888, head=770, touched=7_077_888),
    "lora": Parameters(total=22_713_986, trainable=15_797_378, adapted=161_280, head=770, touched=161_280),
    "meprop": Parameters(total=22_713_986, trainable=15_706_874, adapted=70_776, head=770, touched=1_100_000),
    "sparsegrad": Parameters(
        total=22_713_986, trainable=15_706_874, adapted=70_776, head=770, touched=580_387
    ),
}


def write_run(
    results: Path,
    method: str = "ft",
    score: float | tuple[float, ...] = 0.5,
    *,
    status: str = "done",
    completeness: str = "complete",
    origin: str = "folder: glue",
    rows: dict[str, int] | None = None,
    checkpoint: str = "sha256:" + "ab" * 32,
    hyperparameters_from: str = "paper table 14",
    single_class: bool = False,
    steps_per_second: float = 4.0,
    peak_memory_bytes: int | None = 900_000_000,
    revision: str | None = "3397e30" + "0" * 33,
    dirty: bool | None = False,
    hardware: dict[str, str | int] | None = None,
    metrics: dict[str, float] | None = None,
    parameters: Parameters | None = None,
    left_out: dict[str, int] | None = None,
    selection_score: float | None = None,
    **config: object,
) -> Path:
    """Writes one run's folder; `score` has a value for each metric of the task."""
    made = CONFIG.model_copy(update={"method": method, **OWN.get(method, {}), **config})
    names = METRICS.get(made.task, ["accuracy"])
    values = score if isinstance(score, tuple) else (score,) * len(names)
    metrics = metrics or dict(zip(names, values, strict=True))
    folder = RUNS.folder(results, made)
    environment = Environment(
        started="2025-01-01T00:00:00+00:00",
        command=["sparsegrad"],
        versions={"python": "3.11"},
        hardware=hardware or {"processor": "x86_64", "threads": 2},
        git_revision=revision,
        git_dirty=dirty,
        checkpoint=checkpoint,
        data="sha256:" + made.data_revision,
        restarts=0,
    )
    folder.begin(environment)
    identity = {key: getattr(made, key) for key in ("model", "task", "method", "seed", "protocol")}
    result = Result(
        **identity,
        id=made.run_id(),
        status=status,
        error=None if status == "done" else "it went wrong",
        score_name=next(iter(metrics)),
        data=DataRecord(
            origin=origin,
            completeness=completeness,
            rows=rows or {"train": 8551, "validation": 1043},
            left_out=left_out or {},
        ),
        hyperparameters_from=hyperparameters_from,
    )
    if status == "done":
        scored = {"score": next(iter(metrics.values())), "metrics": metrics, "single_class": single_class}
        costs = {"steps_per_second": steps_per_second, "peak_memory_bytes": peak_memory_bytes}
        costs["selection_score"] = selection_score
        result = result.model_copy(
            update={**scored, **costs, "parameters": parameters or PARAMETERS.get(method)}
        )
    folder.finish(result)
    return folder.path
