"""The fine-tuning methods: one file each, found by name.

To add a method, write one file in this folder. Its name is what `--method` takes, with `_` for `-`, and it
defines `METHOD`, a class as `base.Method` describes it:

- `help`, `source`, `order` and `colour` say what it is, for `sparsegrad ls methods`, tables and plots;
- `settings` names the settings of `config.py` that it reads from its `MethodConfig`, beside those that every
  method has; commands, experiments and sweeps refuse the others;
- the constructor makes the model ready, `optimizer` trains it, `merge` gives a plain model back.

A method of PEFT is an entry of `peft_table.py`, or a user's `adapter_config.json` as `--method peft:FILE`.
A sparse update is a `sparse.SparseMethod` with a basis and a mask: see `meprop.py`, 20 lines. What the
tables count (trained entries, FLOPs, memory) follows from the parameters that it declares as `adapted`; the
tests of `tests/methods` run over every file here.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, unknown
from . import peft_table
from .peft_table import BY_NAME

if TYPE_CHECKING:
    from .base import Method

_SHARED = ("base", "part", "sparse", "peft", "peft_table")  # files that are no method
FILE = "peft:"  # before the name of an adapter_config.json


@cache
def method_names() -> tuple[str, ...]:
    """Returns the names that `--method` takes; imports none of them."""
    files = (module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)
    return tuple(sorted([*(name.replace("_", "-") for name in files), *BY_NAME]))


def is_method(name: str) -> bool:
    """Returns whether `--method` takes a name; a file is not looked into."""
    return name.startswith(FILE) or name in method_names()


def get_method(name: str) -> type[Method]:
    """Returns the method of that name.

    Raises:
        InputError: there is none; the message lists those there are. Or its file cannot be read.
    """
    names = method_names()
    if name.startswith(FILE):
        from .peft import file_method

        return file_method(name, Path(name.removeprefix(FILE)))
    if name not in names:
        raise InputError(f"--method: {unknown('method', name, names)}")
    if name in BY_NAME:
        from .peft import named_method

        return named_method(name)
    return importlib.import_module(f".{name.replace('-', '_')}", __name__).METHOD


@cache
def order_and_colour(name: str) -> tuple[int, str]:
    """Returns where a method stands in tables, and its colour in plots, as its file writes them.

    The file is read and not imported: a report needs no torch. What has none is PEFT's.
    """
    path = Path(__path__[0]) / f"{name.replace('-', '_')}.py"
    if not path.is_file():
        return peft_table.order_and_colour(name)
    said = {
        target.id: line.value.value
        for part in ast.parse(path.read_text(encoding="utf-8")).body
        for line in getattr(part, "body", ())
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
        for target in line.targets
        if isinstance(target, ast.Name)
    }
    order, colour = said["order"], said["colour"]
    assert isinstance(order, int)
    assert isinstance(colour, str)
    return order, colour


def methods_in_order() -> list[str]:
    """Returns the names of all methods as tables list them."""
    return sorted(method_names(), key=order_and_colour)
