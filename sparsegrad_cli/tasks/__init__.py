"""Tasks: the nine of GLUE, those of chat, and the user's own. Nothing here loads torch or data sets.

To add a text classification or regression task, add an entry to `glue.yaml`:

    boolq:
      text: [question, passage]
      labels: ["no", "yes"]
      metrics: accuracy
      hub: {id: super_glue, config: boolq}   # for --data hub: boolq/train-*.parquet and so on
      in_average: false                      # it is no part of GLUE's average

Nothing else is needed: `--task boolq`, `sparsegrad ls tasks`, experiments and tables know it.
`--data FOLDER` reads `FOLDER/boolq/train.jsonl.gz` (or `.jsonl`) and the same for each dev split; `tsv` says
where older copies keep it. `--data demo` works once `demo/boolq/` holds such files, with made-up rows.
`rows`, the sizes of the official splits, lets tables tell a whole data set from a part; `test`, the splits
without labels, is for a leaderboard. Text columns, labels, metrics and rows are part of a run's id; raise
`version` where something else of the task changes its numbers.

A user needs no change here: the same keys in a YAML file of their own, with `files` or `hub`, make a task.
Conversations of another data set in OpenAssistant's form are an entry of `chat.yaml`.
"""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

import yaml

from ..errors import InputError, unknown
from .task import ChatTask, Task, TestSplit, read_task


def _entries(file: str) -> dict[str, dict[str, object]]:
    return yaml.safe_load(resources.files(__package__).joinpath(file).read_text(encoding="utf-8"))


@functools.cache
def text_tasks() -> dict[str, Task]:
    """Returns the built-in tasks of text classification and regression by name, in the order of tables."""
    return {
        name: Task.model_validate({"name": name, **entry}) for name, entry in _entries("glue.yaml").items()
    }


@functools.cache
def chat_tasks() -> dict[str, ChatTask]:
    """Returns the chat tasks by name."""
    return {
        name: ChatTask.model_validate({"name": name, **entry})
        for name, entry in _entries("chat.yaml").items()
    }


def task_names() -> list[str]:
    """Returns the names of the built-in tasks of text classification and regression."""
    return list(text_tasks())


def chat_task_names() -> list[str]:
    """Returns the names of the chat tasks."""
    return list(chat_tasks())


def leaderboard() -> dict[str, tuple[TestSplit, ...]]:
    """Returns the test splits of the tasks that GLUE's leaderboard scores, by task."""
    return {name: task.test for name, task in text_tasks().items() if task.test}


def get_task(name_or_yaml: str) -> Task | ChatTask:
    """Returns the task of that name, or the one that a user's YAML file describes.

    Args:
        name_or_yaml: a name of `task_names()` or `chat_task_names()`, or the path of a file that ends in
            .yaml or .yml.

    Raises:
        InputError: no such task or file, or the file describes no task.
    """
    tasks: dict[str, Task | ChatTask] = {**text_tasks(), **chat_tasks()}
    if name_or_yaml in tasks:
        return tasks[name_or_yaml]
    path = Path(name_or_yaml)
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_task(path, taken=tasks)
    raise InputError(f"--task: {unknown('task', name_or_yaml, tasks)} (or the path of your own .yaml)")
