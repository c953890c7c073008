"""Tasks: the nine of GLUE and the user's own. Nothing here loads torch or data sets."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

import yaml

from ..errors import InputError, unknown
from .entry import read_entry
from .task import Task


@functools.cache
def _glue() -> dict[str, dict[str, object]]:
    return yaml.safe_load(resources.files(__package__).joinpath("glue.yaml").read_text(encoding="utf-8"))


def task_names() -> list[str]:
    """The names of the GLUE tasks."""
    return list(_glue())


def get_task(name_or_yaml: str) -> Task:
    """The task of that name, or the one that a user's YAML file describes.

    Args:
        name_or_yaml: a name of `task_names()`, or the path of a file that ends in .yaml or .yml.

    Raises:
        InputError: no such task or file, or the file describes no task.
    """
    if name_or_yaml in _glue():
        return Task(name=name_or_yaml, **_glue()[name_or_yaml])
    path = Path(name_or_yaml)
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_entry(path, taken=task_names())
    raise InputError(f"--task: {unknown('task', name_or_yaml, task_names())} (or the path of your own .yaml)")
