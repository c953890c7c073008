"""What the parent of a sweep asks of a worker: one JSON line on its standard input."""

from __future__ import annotations

import socket

from ..settings import Record


def worker_name(pid: int) -> str:
    """What a worker on this machine is called in a study: host and process."""
    return f"{socket.gethostname()} {pid}"


class Job(Record):
    """Studies to work on until none of their trials is left to do."""

    storage: str | None  # as the user gave it
    results: str  # the results folder
    studies: tuple[str, ...]  # their names, in the order in which this worker takes them
