"""YAML that remembers on which line everything stands."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..errors import InputError

Place = tuple[str | int, ...]  # keys and positions that lead to a value
Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class Lines:
    """Where the values of a file stand."""

    def __init__(self, path: Path, found: dict[Place, int]) -> None:
        self.path, self._found = path, found

    def at(self, place: Place) -> str:
        """`file.yaml:12`, of the innermost value on the way to `place` that is there."""
        while place and place not in self._found:
            place = place[:-1]
        return f"{self.path}:{self._found.get(place, 1)}"


def read_lines(path: Path) -> tuple[Value, Lines]:
    """Reads a YAML file.

    Raises:
        InputError: it cannot be read, is no YAML, or names a key twice.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    try:
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{path}: empty")
        found: dict[Place, int] = {}
        _walk(node, (), found, path)
        return loader.construct_document(node), Lines(path, found)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: no YAML: {error.problem}") from None
    except RecursionError:
        raise InputError(f"{path}: a value refers to itself, or is nested too deeply") from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, place: Place, found: dict[Place, int], path: Path) -> None:
    found[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag not in KEY_TAGS:
                raise InputError(f"{path}:{key.start_mark.line + 1}: a key must be a word")
            inner = (*place, key.value)
            if inner in found:
                raise InputError(f"{path}:{key.start_mark.line + 1}: {key.value} is there twice")
            _walk(value, inner, found, path)
            found[inner] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _walk(value, (*place, position), found, path)
