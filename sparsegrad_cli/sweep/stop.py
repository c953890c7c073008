"""When a worker may be stopped: in the midst of training, never between a trial and its study."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """What SIGINT and SIGTERM do to a worker: they raise KeyboardInterrupt where its work heeds them.

    Elsewhere they wait for the next place that does. Optuna leaves a trial running for ever whose worker is
    interrupted as it takes the trial from the queue, or hands in its score.
    """

    def __init__(self) -> None:
        self._asked = False
        self._heeding = False

    def listen(self) -> None:
        """Takes these signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """A stretch of work that may be cut short."""
        with self._set(heeding=True):
            yield

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """A part of such a stretch that may not."""
        with self._set(heeding=False):
            yield
        self._raise_if_asked()

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        self._raise_if_asked()

    @contextmanager
    def _set(self, heeding: bool) -> Iterator[None]:
        before, self._heeding = self._heeding, heeding
        try:
            self._raise_if_asked()
            yield
        finally:
            self._heeding = before

    def _raise_if_asked(self) -> None:
        if self._asked and self._heeding:
            self._heeding = False  # once: what clears up behind it is not interrupted
            raise KeyboardInterrupt
