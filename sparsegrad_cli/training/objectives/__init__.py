"""What a run trains for: every kind of task has its model, its encoding, its loss and its scores."""

from __future__ import annotations

from ...tasks.chat.task import ChatTask
from ...tasks.task import Task
from .base import Objective
from .chat import Chat
from .classify import Classify

__all__ = ["Objective", "objective_of"]


def objective_of(task: Task | ChatTask) -> Objective:
    """The objective of a task."""
    return Chat(task) if isinstance(task, ChatTask) else Classify(task)
