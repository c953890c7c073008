"""Conversation trees that give no threads, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "message id twice",
    "missing parent",
    "two roots",
    "cycle",
    "unknown role",
    "roles do not alternate",
    "empty text",
]

# of trees that are well formed; they are only counted, as there may be thousands
OTHER_LANGUAGE = "other language"
NOT_READY = "not ready for export"
NO_ANSWER = "no answer"


@dataclass(frozen=True)
class LeftOut:
    """A malformed tree, which is left out whole."""

    tree: str  # its id
    reason: Reason
    place: str  # file, line and id of the message that shows it
