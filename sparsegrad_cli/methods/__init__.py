"""The fine-tuning methods: every file beside this one, but `base.py`, is one."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from ..errors import InputError, unknown

if TYPE_CHECKING:
    from .base import Method


def method_names() -> list[str]:
    """The names that `--method` takes; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def get_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    names = method_names()
    if name not in names:
        raise InputError(f"--method: {unknown('method', name, names)}")
    return importlib.import_module(f".{name}", __name__).METHOD
