"""Tasks: the nine of GLUE, the user's own, and those of chat. Nothing here loads torch or data sets."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

import yaml

from ..errors import InputError, unknown
from .task import ChatTask, Task, read_entry


@functools.cache
def _glue() -> dict[str, dict[str, object]]:
    return yaml.safe_load(resources.files(__package__).joinpath("glue.yaml").read_text(encoding="utf-8"))


@functools.cache
def _chat() -> dict[str, dict[str, object]]:
    entries = resources.files(__package__).joinpath("chat", "chat.yaml")
    return yaml.safe_load(entries.read_text(encoding="utf-8"))


def task_names() -> list[str]:
    """The names of the GLUE tasks."""
    return list(_glue())


def chat_task_names() -> list[str]:
    """The names of the chat tasks."""
    return list(_chat())


def get_task(name_or_yaml: str) -> Task | ChatTask:
    """The task of that name, or the one that a user's YAML file describes.

    Args:
        name_or_yaml: a name of `task_names()` or `chat_task_names()`, or the path of a file that ends in
            .yaml or .yml.

    Raises:
        InputError: no such task or file, or the file describes no task.
    """
    if name_or_yaml in _glue():
        return Task(name=name_or_yaml, **_glue()[name_or_yaml])
    if name_or_yaml in _chat():
        return ChatTask(name=name_or_yaml, **_chat()[name_or_yaml])
    names = task_names() + chat_task_names()
    path = Path(name_or_yaml)
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_entry(path, taken=names)
    raise InputError(f"--task: {unknown('task', name_or_yaml, names)} (or the path of your own .yaml)")
