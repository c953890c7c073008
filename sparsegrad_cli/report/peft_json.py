"""The result files of PEFT's `method_comparison`: ours written as theirs, theirs read as rows beside ours.

One file is one run: `run_info` says what was asked for, `train_info` what it cost and came to, `meta_info` on
what. Keys that another harness has no answer to are null.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..store.folder import RUNS, read_all
from ..store.io import write_text
from ..store.records import StoredResult

PARTS = ("run_info", "train_info", "meta_info")


def peft_result(run: StoredResult[Any, Any]) -> dict[str, Any]:
    """Returns a finished run as a result file of PEFT."""
    config, result, environment = run.config, run.result, run.environment
    parameters = result.parameters
    scores = {
        "step": result.best_step or result.steps,
        f"test {result.score_name}": result.score,
        **{f"test {name}": value for name, value in result.metrics.items()},
        "train samples": (result.steps or 0) * config.batch_size,
        "train time": result.train_seconds,
        "tokens / sec": (result.tokens_per_step or 0) * (result.steps_per_second or 0) or None,
    }
    return {
        "run_info": {
            "created_at": environment.started,
            "total_time": result.train_seconds,
            "experiment_name": f"{config.method}/{config.model}-{config.task}-{result.id}",
            "peft_branch": None,
            "train_config": {
                "model_id": config.model,
                "dtype": "float32" if config.precision == "fp32" else config.precision,
                "max_seq_length": config.length,
                "batch_size": config.batch_size,
                "max_steps": result.steps,
                "eval_steps": config.eval_steps,
                "seed": config.seed,
                "optimizer_type": "AdamW",
                "optimizer_kwargs": {"lr": config.learning_rate, "weight_decay": config.weight_decay},
                "lr_scheduler": config.schedule,
            },
            "peft_config": {"peft_type": config.method.upper(), "task": config.task},
            "error_msg": result.error or "",
        },
        "train_info": {
            "cuda_memory_max": result.peak_memory_bytes if config.device == "cuda" else None,
            "memory_max": result.peak_memory_bytes,
            "train_time": result.train_seconds,
            "file_size": None if parameters is None else 4 * parameters.trainable,
            "num_trainable_params": None if parameters is None else parameters.trainable,
            "num_total_params": None if parameters is None else parameters.total,
            "status": "success" if result.status == "done" else "failed",
            "metrics": [scores],
        },
        "meta_info": {
            "model_info": {"sha": config.model_revision},
            "dataset_info": {config.task: {"sha": config.data_revision}},
            "package_info": environment.versions,
            "system_info": environment.hardware,
        },
    }


def write_peft_results(folders: list[Path], into: Path) -> list[Path]:
    """Write every finished run below the folders as a file of PEFT, named as PEFT names them."""
    written = []
    for run in read_all(RUNS, folders):
        config = run.config
        name = f"{config.method}--{config.model}-{config.task}-{run.result.id}".replace("/", "-")
        path = into / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(peft_result(run), indent=2) + "\n")
        written.append(path)
    return written


def read_peft_results(paths: list[Path]) -> list[dict[str, Any]]:
    """Returns a row for each result file of PEFT: method, model, score, cost, as our own tables name them.

    Args:
        paths: files, or folders of them.

    Raises:
        InputError: a file is none.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    return [_row(file) for file in files]


def _row(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        run, trained = read["run_info"], read["train_info"]
        last = trained["metrics"][-1] if trained["metrics"] else {}
        tests = {key.removeprefix("test "): value for key, value in last.items() if key.startswith("test ")}
        config = run["train_config"]
        seconds, steps = trained["train_time"], last.get("step") or config.get("max_steps")
        return {
            "method": run["experiment_name"].partition("/")[0],
            "name": run["experiment_name"],
            "model": config["model_id"],
            "task": ", ".join(read["meta_info"]["dataset_info"]),
            "seed": config.get("seed"),
            "status": "done" if trained["status"] == "success" else "failed",
            "score_name": next(iter(tests), None),
            "score": next(iter(tests.values()), None),
            "trainable": trained["num_trainable_params"],
            "total": trained["num_total_params"],
            "peak_memory_bytes": trained.get("memory_max") or trained.get("cuda_memory_max"),
            "steps_per_second": steps / seconds if steps and seconds else None,
            "train_seconds": seconds,
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        parts = ", ".join(PARTS)
        raise InputError(f"{file}: no result of PEFT's method_comparison, with {parts} ({error!r})") from None
