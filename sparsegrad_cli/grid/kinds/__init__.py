"""The kinds of experiments: every file beside this one, but `base.py`, is one."""

from __future__ import annotations

import importlib

from .base import GridCell, How, Kind, Outcome

__all__ = ["GridCell", "How", "Kind", "Outcome", "get_kind"]


def get_kind(name: str) -> Kind:
    """The kind of that name, one of `schema.KINDS`; imports what it needs."""
    return importlib.import_module(f".{name}", __name__).KIND
