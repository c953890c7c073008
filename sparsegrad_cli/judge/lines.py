"""Files of the user's with one JSON document a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import pydantic

from ..errors import InputError

Kind = TypeVar("Kind", bound=pydantic.BaseModel)


def read_lines(kind: type[Kind], path: Path, option: str, example: str) -> list[tuple[str, Kind]]:
    """The documents of a file, each with its place (`file:line`); empty lines count for nothing.

    Args:
        option: that the file was given with.
        example: what a line looks like.

    Raises:
        InputError: the file is missing, empty or not text, or a line is something else; names it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{option} {path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{option} {path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read ({error.strerror})") from None
    lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f"{option} {path}: it is empty; a line is such as {example}")
    return [(place, _read_line(kind, place, line, example)) for place, line in lines]


def _read_line(kind: type[Kind], place: str, line: str, example: str) -> Kind:
    try:
        return kind.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not JSON ({error.msg}); a line is such as {example}") from None
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        told = f"{where}: {problem['msg']}" if where else problem["msg"]
        raise InputError(f"{place}: {told}; a line is such as {example}") from None
