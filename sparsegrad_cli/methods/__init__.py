"""The fine-tuning methods: one file each, found by name.

To add a method, write one file in this folder. Its name is what `--method` takes, with `_` for `-`, and it
defines `METHOD`, a class as `base.Method` describes it:

- `help`, `source`, `order` and `colour` say what it is, for `sparsegrad ls methods`, tables and plots;
- `settings` names the settings of `config.py` that it reads from its `MethodConfig`, beside those that every
  method has; commands, experiments and sweeps refuse the others;
- the constructor makes the model ready, `optimizer` trains it, `merge` gives a plain model back.

A sparse update is a `sparse.SparseMethod` with a basis and a mask: see `meprop.py`, 20 lines. What the
tables count (trained entries, FLOPs, memory) follows from the parameters that it declares as `adapted`; the
tests of `tests/methods` run over every file here.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from ..errors import InputError, unknown

if TYPE_CHECKING:
    from .base import Method

_SHARED = ("base", "sparse")  # files that are no method


def method_names() -> list[str]:
    """Returns the names that `--method` takes; imports none of them."""
    files = (module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)
    return sorted(name.replace("_", "-") for name in files)


def get_method(name: str) -> type[Method]:
    """Returns the method of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    names = method_names()
    if name not in names:
        raise InputError(f"--method: {unknown('method', name, names)}")
    return importlib.import_module(f".{name.replace('-', '_')}", __name__).METHOD


def methods_in_order() -> list[str]:
    """Returns the names of all methods as tables list them."""
    return sorted(method_names(), key=lambda name: get_method(name).order)
