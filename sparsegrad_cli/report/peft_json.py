"""The result files of PEFT's `method_comparison`: ours written as theirs, theirs read as rows beside ours.

One file is one run: `run_info` says what was asked for, `train_info` what it cost and came to, `meta_info` on
what. Keys that another harness has no answer to are null.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..store.folder import RUNS, read_all
from ..store.io import write_text
from ..store.records import StoredResult, format_score
from .table import DASH, Section, amount, megabytes, records_table, three_digits

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


def read_peft_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns a row for each result file of PEFT: method, model, score, cost, as our own tables name them.

    Args:
        paths: files, or folders of them.

    Raises:
        InputError: a file is none.
    """
    return [_row(file) for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]


def _in_folder(folder: Path) -> list[Path]:
    """Returns the result files of PEFT in a folder; other JSON may lie beside them."""
    files = sorted(folder.glob("*.json"))
    return [file for file in files if all(f'"{part}"' in file.read_text(errors="replace") for part in PARTS)]


def peft_sections(theirs: Sequence[dict[str, Any]], done: pd.DataFrame) -> list[Section]:
    """Returns a table of PEFT's results with our finished runs below them; nothing without any of PEFT.

    Args:
        done: our runs, as `load.read_runs` has them.
    """
    if not theirs:
        return []
    ours = [{**row, "name": row["id"]} for row in done.to_dict("records")]
    rows = [{"from": "PEFT", **row} for row in theirs] + [{"from": "ours", **row} for row in ours]

    def number(key: str, words: Any) -> Any:
        return lambda row: DASH if pd.isna(row[key]) else words(row[key])

    table = records_table(
        rows,
        [
            ("method", lambda row: row["method"]),
            ("from", lambda row: row["from"]),
            ("run", lambda row: row["name"].rpartition("/")[2]),
            ("model", lambda row: row["model"].rpartition("/")[2]),
            ("task", lambda row: row["task"]),
            ("seed", number("seed", str)),
            ("metric", lambda row: row["score_name"] or DASH),
            (
                "score",
                lambda row: DASH if pd.isna(row["score"]) else format_score(row["score_name"], row["score"]),
            ),
            ("steps/s", number("steps_per_second", three_digits)),
            ("peak MB", number("peak_memory_bytes", megabytes)),
            ("trained", number("trainable", amount)),
        ],
        left=("method", "from", "run", "model", "task", "metric"),
    )
    note = "Of PEFT's method_comparison, and ours: compare rows of one model, task and metric alone."
    return [Section("PEFT's results and ours", tables=[table], notes=[note])]


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
