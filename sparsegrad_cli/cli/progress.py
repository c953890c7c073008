"""What a person sees while runs go on: one live line a run in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..store.score_words import score_words


class RunWatch:
    """A `training.callbacks.Watch` for one run after the other.

    Args:
        console: where to draw; a terminal gets a live line, anything else a line at each evaluation.
        quiet: draw nothing.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.live = console.is_terminal and not quiet
        self.title = ""
        self._progress: Progress | None = None

    def begin(self, title: str) -> None:
        """A run begins; `title` stands before everything that is said of it."""
        self.title, self._score, self._phase = title, "", ""

    def __enter__(self) -> RunWatch:
        if self.live:
            self._progress = Progress(
                TextColumn("{task.description}", markup=True),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[loss]}"),
                TextColumn("{task.fields[score]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        self._phase, self._total, self._began = name, total, time.monotonic()
        if self._progress is not None:
            for task in self._progress.task_ids:
                self._progress.remove_task(task)
            description = f"{escape(self.title)} [dim]{name}[/dim]"
            self._task = self._progress.add_task(description, total=total, loss="", score=self._score)
        elif not self.quiet and name != "score":
            self._say(f"{self.title}: {name}, {total} {'rows' if name == 'predict' else 'steps'}")

    def step(self, done: int, loss: float | None = None) -> None:
        self._done = done
        if self._progress is not None:
            shown = "" if loss is None else f"loss {loss:.3f}"
            self._progress.update(self._task, completed=done, loss=shown)

    def evaluated(self, metric: str, value: float, best: float) -> None:
        self._score = f"best {score_words(metric, best)}"
        if self._progress is not None:
            self._progress.update(self._task, score=self._score)
        elif not self.quiet:
            score = score_words(metric, value)
            self._say(f"{self.title}: step {self._done}/{self._total}, {metric} {score} ({self._score})")

    def done(self, line: str) -> None:
        """The run has ended; `line` says how."""
        if self._progress is not None:
            for task in self._progress.task_ids:
                self._progress.remove_task(task)
        if not self.quiet:
            self._say(f"{self.title}: {line}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
