"""YAML that remembers on which line everything is, for messages about a user's file."""

from __future__ import annotations

from pathlib import Path

import yaml

from .errors import InputError

Keys = tuple[str | int, ...]  # keys and positions that lead to a value
Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class Lines:
    """The lines of a file's values."""

    def __init__(self, path: Path, found: dict[Keys, int]) -> None:
        self.path, self._found = path, found

    def at(self, keys: Keys) -> str:
        """Returns `file.yaml:12` for the innermost value on the way to `keys` that is there."""
        while keys and keys not in self._found:
            keys = keys[:-1]
        return f"{self.path}:{self._found.get(keys, 1)}"


def read_yaml(path: Path) -> tuple[Value, Lines]:
    """Read a YAML file.

    Raises:
        InputError: it cannot be read, is not YAML, is empty or names a key twice.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{path}: empty")
        found: dict[Keys, int] = {}
        _walk(node, (), found, path)
        return loader.construct_document(node), Lines(path, found)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: not YAML: {error.problem}") from None
    except RecursionError:
        raise InputError(f"{path}: a value refers to itself, or is nested too deeply") from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, keys: Keys, found: dict[Keys, int], path: Path) -> None:
    found[keys] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag not in KEY_TAGS:
                raise InputError(f"{path}:{key.start_mark.line + 1}: a key must be a word")
            inner = (*keys, key.value)
            if inner in found:
                raise InputError(f"{path}:{key.start_mark.line + 1}: {key.value} is there twice")
            _walk(value, inner, found, path)
            found[inner] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _walk(value, (*keys, position), found, path)
