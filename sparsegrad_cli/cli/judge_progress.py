"""What a person sees while questions are answered and judged: a live line in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES = 10  # of progress where there is no terminal, a phase


class JudgeWatch:
    """A `judge.make_answers.Watch` on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._console, self._quiet = Console(stderr=True), quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )

    def __enter__(self) -> JudgeWatch:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def phase(self, name: str, total: int, done: int) -> None:
        self._name, self._total, self._done = name, total, done
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._task = self._bar.add_task(name, total=total, completed=done)
        self._tell()

    def step(self, more: int = 1) -> None:
        self._done += more
        self._bar.advance(self._task, more)
        if self._done % max(1, self._total // LINES) == 0 or self._done == self._total:
            self._tell()

    def _tell(self) -> None:
        if not self._quiet and not self._console.is_terminal:
            print(f"{self._name}: {self._done} of {self._total}", file=sys.stderr, flush=True)
