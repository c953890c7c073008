"""What stands over and under a table: everything one must know to compare it with another."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from ..config import METHOD_SETTINGS
from .rows import (
    SETTINGS,
    Setting,
    method_order,
    one_schedule_a_task,
    recipe_words,
    schedule_of,
    setting_words,
    settings_of,
)
from .table import Column, Row

TRAINING = {
    "max_steps": "{} steps at most",
    "epochs": "{} epochs at most",
    "max_train_examples": "{} training examples at most",
    "eval_steps": "evaluated every {} steps",
    "patience": "stops after {} evaluations without improvement",
    "length": "{} tokens at most",
}
PROTOCOLS = {
    "paper": "dev selects the checkpoint and is reported",
    "heldout": "half of dev selects the checkpoint, the other half is reported",
}


def title(runs: pd.DataFrame, kind: str, columns: Sequence[Column]) -> str:
    """Model and data, and what sets the runs apart from others of the same."""
    first = runs.iloc[0]
    words = [subject(first["model"], kind, columns), *precision_words(first["precision"])]
    words.append(f"{first['protocol']} protocol")
    if first["freeze_rest"]:
        words.append("the rest of the model frozen")
    return ", ".join(words)


def precision_words(precision: str) -> list[str]:
    """Where it is not the usual one."""
    return [] if precision == "fp32" else [precision]


def subject(model: str, kind: str, columns: Sequence[Column]) -> str:
    """Which model on which tasks; says of data that is not GLUE's that it is not."""
    tasks = columns[0].task if len(columns) == 1 else f"{len(columns)} tasks"
    data = {"synthetic": ", SYNTHETIC data", "own": ", own data"}.get(kind, "")
    name = model if model.count("/") < 2 else model.rstrip("/").rpartition("/")[2]  # of a directory, its own
    return f"{name} on {tasks}{data}"


def caption(
    runs: pd.DataFrame, columns: Sequence[Column], rows: Sequence[Row], cost_note: str
) -> dict[str, str]:
    """Everything one must know to compare the table with another."""
    first = runs.iloc[0]
    told = {
        "protocol": f"{first['protocol']}: {PROTOCOLS[first['protocol']]}",
        "seeds": _seeds(rows),
        "training": training_words(runs),
        "methods": method_words(runs),
        "learning rate": _recipes(columns, rows),
        "memory": _parts_words(runs),
        "data": data_words(columns),
        "checkpoint": f"{first['model']}, {short_identity(first['checkpoint'])}",
        "ran on": machine_words(runs),
        "code": code_words(runs),
        "cost": f"means over the runs of a row{cost_note}{_batch_note(rows)}",
    }
    return {name: text for name, text in told.items() if text}


def short_identity(identity: str) -> str:
    """`sha256:` or `hub:<id>@` and the first twelve digits."""
    for start, mark in (("hub:", "@"), ("sha256:", ":")):
        head, found, digits = identity.rpartition(mark)
        if found and identity.startswith(start):
            return f"{head}{mark}{digits[:12]}"
    return identity


def _seeds(rows: Sequence[Row]) -> str:
    cells = [cell for row in rows for cell in row.cells if cell]
    seeds = ", ".join(str(seed) for seed in sorted({seed for cell in cells for seed in cell.seeds}))
    if all(len(cell.seeds) == 1 for cell in cells):
        return f"{seeds}: one run a cell"
    spread = "mean ± sample standard deviation"
    if len({len(cell.seeds) for cell in cells}) > 1:
        return f"{seeds}; {spread} (number of seeds)"
    other = "" if len({cell.seeds for cell in cells}) == 1 else ", not the same ones in every cell"
    return f"{seeds}{other}; {spread} over {len(cells[0].seeds)}"


def training_words(runs: pd.DataFrame) -> str:
    """The settings that all runs share, or all of a task; others stand in the rows."""
    records = runs.to_dict("records")
    settings = [settings_of(run) for run in records]
    shared = {name: settings[0][name] for name in SETTINGS if len({s[name] for s in settings}) == 1}
    of_tasks = {run["task"]: schedule_of(run) for run in records} if one_schedule_a_task(records) else {}
    words = []
    for name, text in TRAINING.items():
        if shared.get(name):
            words.append(_filled(text, shared[name]))
        elif differing := {task: found[name] for task, found in of_tasks.items() if found.get(name)}:
            told = ", ".join(f"{_number(value)} ({task})" for task, value in differing.items())
            words.append(text.format(told))
    flags = {"pad_to_max": "padded to them", "freeze_rest": "only adapters and head trained"}
    return ", ".join([*words, *(text for name, text in flags.items() if shared.get(name))])


def _parts_words(runs: pd.DataFrame) -> str:
    """Runs that could not hold a whole batch, and so summed the gradients of its parts."""
    split = [run for run in runs.to_dict("records") if run["parts_taken"] > (run["accumulation_steps"] or 1)]
    if not split:
        return ""
    which = ", ".join(sorted({f"{run['method']} on {run['task']}" for run in split}))
    count = "1 run" if len(split) == 1 else f"{len(split)} runs"
    return f"{count} ran out of it and worked on each batch in parts ({which})"


def _filled(text: str, value: Setting) -> str:
    """`1 epoch at most`, `2 epochs at most`."""
    words = re.sub(r"^({} \w+)s\b", r"\1", text) if value == 1 else text
    return words.format(_number(value))


def _number(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def method_words(runs: pd.DataFrame) -> str:
    """The settings of single methods, where all rows of the method share them."""
    told = []
    for method in sorted(set(runs["method"]), key=method_order):
        of_method = runs[runs["method"] == method]
        shared = [name for name in METHOD_SETTINGS if of_method[name].nunique(dropna=False) == 1]
        words = [text for name in shared if (text := setting_words(name, of_method[name].iloc[0]))]
        if words:
            told.append(f"{method} {', '.join(words)}")
    return "; ".join(told)


def _batch_note(rows: Sequence[Row]) -> str:
    for cells in zip(*(row.cells for row in rows), strict=True):
        if len({cell.batch_size for cell in cells if cell}) > 1:
            return "; batch sizes differ between rows, so their speed and memory do not compare"
    return ""


def _recipes(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Learning rate and batch size with their source, as shortly as they can be told."""
    cells = [
        (column.task, row.method, cell)
        for row in rows
        for column, cell in zip(columns, row.cells, strict=True)
        if cell
    ]
    sources = "; ".join(sorted({source for *_, cell in cells for source in cell.hyperparameters_from}))
    for place in (None, 0, 1):  # the same for all, for each task, for each method
        by_name: dict[str, set[str]] = {}
        for cell in cells:
            recipe = recipe_words(cell[2].learning_rate, cell[2].batch_size).removeprefix("lr ")
            by_name.setdefault("" if place is None else cell[place], set()).add(recipe)
        if all(len(recipes) == 1 for recipes in by_name.values()):
            words = "; ".join(f"{name} {recipe}".strip() for name, (recipe,) in by_name.items())
            return f"{words} ({sources})"
    return f"differs between tasks and rows, as report.csv lists ({sources})"


def data_words(columns: Sequence[Column]) -> str:
    """Where the examples are from, and whether they are all of the task's."""
    origins = "; ".join(sorted({short_identity(origin) for c in columns for origin in c.origins}))
    kinds = {column.completeness for column in columns}
    if kinds == {"complete"}:
        return f"{origins}, complete"
    if kinds == {"synthetic"}:
        origins = f"SYNTHETIC ({origins}): says nothing about GLUE"
    parts = [_rows(column) for column in columns if column.completeness != "complete"]
    return f"{origins}; {'; '.join(parts)}"


def _rows(column: Column) -> str:
    official = column.official_rows if column.completeness == "partial" else None
    counts = []
    for split, count in column.rows.items():
        of = f" of {official[split]}" if official and official.get(split, count) != count else ""
        counts.append(f"{split} {count}{of}")
    return f"{column.task} {column.completeness}: {', '.join(counts)}"


def machine_words(runs: pd.DataFrame) -> str:
    """Device, precision, hardware."""
    first = runs.iloc[0]
    kinds = sorted(set(runs["hardware"]))
    differ = "; speeds are of different hardware" if len(kinds) > 1 else ""
    return f"{first['device']}, {first['precision']} ({'; '.join(kinds)}{differ})"


def code_words(runs: pd.DataFrame) -> str:
    """The revisions that the runs were made with."""
    states = dict.fromkeys(zip(runs["git_revision"], runs["git_dirty"], strict=True))
    words = []
    for revision, dirty in states:
        changes = " with uncommitted changes" if dirty else ""
        words.append("not from a git checkout" if revision is None else f"{revision[:12]}{changes}")
    return "; ".join(words)
