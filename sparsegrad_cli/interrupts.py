"""SIGINT, SIGTERM and SIGUSR1 raise KeyboardInterrupt, except where the work defers them.

A scheduler sends SIGTERM or SIGUSR1 before it takes the machine away. Training defers them to the end of a
step, to save a checkpoint first; a sweep defers them between a trial and its study, because Optuna leaves a
trial running for ever if its worker is interrupted there.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass
class _State:
    """The state of this process: signals belong to a process, not to an object."""

    requested: bool = False
    deferred: bool = False
    at_most: float | None = None  # seconds that the current deferral may last after a signal
    depth: int = 0  # nested `deferred` and `interruptible` blocks


_state = _State()


def listen() -> None:
    """Handle the three signals in this process from now on; call it in the main thread."""
    global _state
    _state = _State()
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    signal.signal(signal.SIGALRM, _on_alarm)


def requested() -> bool:
    """Returns whether a signal has asked this process to stop."""
    return _state.requested


def interrupt() -> NoReturn:
    """Raise KeyboardInterrupt now, inside a `deferred` block too: the work is ready to be interrupted."""
    _state.requested = False
    if _state.depth:
        _state.deferred = True  # what cleans up behind the block is not interrupted again
    raise KeyboardInterrupt


@contextmanager
def deferred(at_most: float | None = None) -> Iterator[None]:
    """A block in which a signal only sets `requested`; KeyboardInterrupt is raised at its end.

    Args:
        at_most: seconds after the signal at which KeyboardInterrupt is raised all the same; a second signal
            does so too. None: never within the block.
    """
    with _mode(True, at_most):
        yield
    _raise_if_requested()


@contextmanager
def interruptible() -> Iterator[None]:
    """A block inside a `deferred` one in which a signal raises KeyboardInterrupt at once."""
    with _mode(False, None):
        _raise_if_requested()
        yield


@contextmanager
def _mode(is_deferred: bool, at_most: float | None) -> Iterator[None]:
    state = _state
    before = (state.deferred, state.at_most)
    state.deferred, state.at_most = is_deferred, at_most
    state.depth += 1
    try:
        yield
    finally:
        state.depth -= 1
        state.deferred, state.at_most = before
        if at_most is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    is_second, _state.requested = _state.requested, True
    if _state.depth == 0 or (is_second and _state.at_most is not None):
        interrupt()
    if _state.at_most is not None:
        signal.setitimer(signal.ITIMER_REAL, _state.at_most)
    _raise_if_requested()


def _on_alarm(signum: int, frame: FrameType | None) -> None:
    if _state.requested and _state.at_most is not None:
        interrupt()


def _raise_if_requested() -> None:
    if _state.requested and not _state.deferred:
        interrupt()
