"""A user's own task, read from YAML; every mistake is told with its file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from ..errors import InputError
from .task import Task, unknown

Mistake = tuple[tuple[str | int, ...], str]  # the keys that lead to it, what is wrong

_OFFICIAL_KEYS = ("rows", "tsv")  # they describe the releases of GLUE


def read_entry(path: Path, taken: Collection[str]) -> Task:
    """The task that a YAML file describes.

    Args:
        path: the file; `files` in it are relative to its folder, and `name` is its stem where it gives none.
        taken: names that the task may not have.

    Returns:
        The task, its `files` ready to open.

    Raises:
        InputError: the file cannot be read or describes no task; tells every mistake with its line.
    """
    root, entry = _parse(path)
    entry.setdefault("name", path.stem)
    mistakes = [*_repeated_keys(root), *_own_mistakes(entry, taken)]
    try:
        task = Task.model_validate(entry)
    except ValidationError as error:
        mistakes += [
            (found["loc"], _explain(found["type"], found["loc"], found["msg"])) for found in error.errors()
        ]
    if mistakes:
        raise InputError("; ".join(f"{path}:{_line(root, keys)}: {what}" for keys, what in mistakes))
    files = {split: str(path.parent / file) for split, file in task.files.items()}
    return task.model_copy(update={"files": files})


def _parse(path: Path) -> tuple[yaml.MappingNode, dict[str, object]]:
    """The YAML as nodes, which know their lines, and as values."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        entry = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML text: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(root, yaml.MappingNode):
        raise InputError(
            f"{path}:1: a task is a list of 'key: value' lines: text, labels, metrics, files, ..."
        )
    return root, entry


def _repeated_keys(root: yaml.MappingNode) -> Iterator[Mistake]:
    """YAML itself would keep the last value and drop the others."""
    counts = Counter(key.value for key, _ in root.value)
    for key, count in counts.items():
        if count > 1:
            yield (key,), f"{key} is given {count} times: keep one"


def _own_mistakes(entry: dict[str, object], taken: Collection[str]) -> Iterator[Mistake]:
    """What a task of GLUE may have or lack and a user's may not."""
    for key in _OFFICIAL_KEYS:
        if key in entry:
            yield (key,), f"{key} is for the GLUE tasks: leave it out"
    if entry.get("files") is None:
        yield ("files",), "files is missing: the path of each split, as in {train: a.csv, validation: b.csv}"
    if entry["name"] in taken:
        yield ("name",), f"{entry['name']} is a built-in task: give this one another name"


def _explain(kind: str, keys: tuple[str | int, ...], message: str) -> str:
    name = ".".join(str(key) for key in keys)
    if kind == "extra_forbidden":
        return unknown("key", name, [key for key in Task.model_fields if key not in _OFFICIAL_KEYS])
    if kind == "missing":
        return f"{name} is missing"
    return f"{name}: {message.removeprefix('Value error, ')}"


def _line(node: yaml.Node, keys: tuple[str | int, ...]) -> int:
    """The line, from 1, of the innermost of the keys that the file has."""
    line = node.start_mark.line
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            below = {name.value: (name, value) for name, value in node.value}.get(str(key))
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            below = (node.value[key], node.value[key])
        else:
            below = None
        if below is None:
            break
        line, node = below[0].start_mark.line, below[1]
    return line + 1
