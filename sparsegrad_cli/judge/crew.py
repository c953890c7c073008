"""Threads that share out work; none of them keeps the process from ending."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def share_out(
    work: Callable[[Item], Outcome], items: Iterable[Item], workers: int, stop: Event
) -> Iterator[Outcome]:
    """Does `work` on each item, so many at once; gives what they come to as they do.

    The first error ends it: `stop` is set, what is under way is waited for, and the error raised. Ctrl-C
    waits for nothing.
    """
    todo: Queue[Item] = Queue()
    for item in items:
        todo.put(item)
    count = todo.qsize()
    done: Queue[Outcome | Exception] = Queue()

    def worker() -> None:
        while not stop.is_set():
            try:
                item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put(work(item))
            except Exception as error:
                done.put(error)  # before others are stopped, so that it comes before what they say
                stop.set()

    crew = [Thread(target=worker, daemon=True) for _ in range(min(workers, count))]
    for thread in crew:
        thread.start()
    try:
        for _ in range(count):
            outcome = done.get()
            if isinstance(outcome, Exception):
                for thread in crew:
                    thread.join()
                raise outcome
            yield outcome
    finally:
        stop.set()
