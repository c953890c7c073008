"""What a row of the tables is, and the files that rows are about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Content = str | bytes | Callable[[Path, "Inputs"], None]


@dataclass(frozen=True)
class Inputs:
    """Good inputs, which the cases of a session share; none is written to."""

    bert: Path
    llama: Path
    glue: Path
    chats: Path


@dataclass(frozen=True)
class Case:
    """One way to be wrong: a command, what is wrong with it, what the one line on stderr says, how it ends.

    `{bert}`, `{llama}`, `{glue}` and `{chats}` in the command are good inputs; `files` are written in the
    folder where it runs: a text, bytes, or a function that writes at the path it gets.
    """

    wrong: str
    command: str
    says: str
    code: int = 2
    files: Mapping[str, Content] = field(default_factory=dict)

    def write(self, folder: Path, inputs: Inputs) -> None:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            match content:
                case str():
                    path.write_text(content, encoding="utf-8")
                case bytes():
                    path.write_bytes(content)
                case _:
                    content(path, inputs)


def changed_config(**changes: object) -> Content:
    """A checkpoint whose config.json says something else."""

    def write(path: Path, inputs: Inputs) -> None:
        shutil.copytree(inputs.bert, path)
        config = path / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))

    return write


def with_file(name: str, content: str | bytes) -> Content:
    """A checkpoint with one file of other content."""

    def write(path: Path, inputs: Inputs) -> None:
        shutil.copytree(inputs.bert, path)
        target = path / name
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content)

    return write


def index(content: str) -> Content:
    """A checkpoint in parts, whose index says this."""

    def write(path: Path, inputs: Inputs) -> None:
        shutil.copytree(inputs.bert, path)
        (path / "model.safetensors").unlink()
        (path / "model.safetensors.index.json").write_text(content)

    return write


def without(*names: str) -> Content:
    """A checkpoint that lacks some files."""

    def write(path: Path, inputs: Inputs) -> None:
        shutil.copytree(inputs.bert, path)
        for name in names:
            (path / name).unlink(missing_ok=True)

    return write


def lines(*rows: object) -> str:
    """JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)
