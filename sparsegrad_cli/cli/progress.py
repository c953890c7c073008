"""The progress display: live lines at the bottom of a terminal, plain lines of text anywhere else."""

from __future__ import annotations

from statistics import fmean
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..progress import ProgressState, ProgressTracker
from ..store.records import format_score, greater_is_better

BESIDE = 4  # earlier scores that are shown beside a new one, the best


class Display:
    """A context manager in which each piece of work that goes on has a `Line`.

    Args:
        quiet: show nothing.
        console: by default standard error.
        total: pieces of work; a line counts those that have ended. None: no such line.
        what: the name of the pieces, such as "cells".
        updates: lines of text that a phase prints as its steps go on where there is no terminal.
    """

    def __init__(
        self,
        quiet: bool = False,
        console: Console | None = None,
        total: int | None = None,
        what: str = "runs",
        updates: int = 0,
    ) -> None:
        self.console = console or Console(stderr=True)
        self.quiet, self.total, self.what, self.updates = quiet, total, what, updates
        self.is_live = self.console.is_terminal and not quiet
        self.ended = self.failed = 0
        self._scores: dict[tuple[str, str], dict[str, list[float]]] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            disable=not self.is_live,
        )
        self._overall = None if total is None else self._bars.add_task(what, total=total, text="")

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line of text, above the live lines where there are any."""
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def line(self, title: str) -> Line:
        """Returns a new line; `title` stands at the head of all that it says."""
        return Line(self, title)

    def beside(self, place: str, name: str, metric: str, score: float) -> str:
        """Keep the score of a run, and return the best of the earlier ones at the same place, as text.

        Args:
            place: what the scores share, such as model and task.
            name: of the row; runs of one row are its seeds, and their mean is shown.
        """
        found = self._scores.setdefault((place, metric), {})
        means = {row: fmean(scores) for row, scores in found.items()}
        best = sorted(means, key=lambda row: means[row], reverse=greater_is_better(metric))[:BESIDE]
        words = [
            f"{row} {format_score(metric, means[row])}{f' ({len(found[row])} seeds)' * (len(found[row]) > 1)}"
            for row in best
        ]
        found.setdefault(name, []).append(score)
        return f"; before it: {', '.join(words)}" if words else ""

    def end(self, line: Line, text: str, is_failed: bool = False) -> None:
        """Remove a line, count its piece of work as ended, and print how it ended."""
        line.remove()
        self.ended += 1
        self.failed += is_failed
        if self._overall is not None:
            failed = f"{self.failed} failed" if self.failed else ""
            self._bars.update(self._overall, completed=self.ended, text=failed)
            self.say(f"[{self.ended}/{self.total}] {line.title}: {text}")
        else:
            self.say(f"{line.title}: {text}")


class Line(ProgressTracker):
    """The `Progress` of one piece of work on a display.

    Its callbacks print phases and evaluations where there is no terminal; `show` draws a state that comes
    from elsewhere, such as a worker, and prints nothing.
    """

    def __init__(self, display: Display, title: str) -> None:
        super().__init__()
        self.display, self.title = display, title
        self._task: TaskID | None = None
        self._phase = ""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        super().phase(name, total, done)
        if self.display.updates:
            self._print_text(f"{name}: {done} of {total}")
        elif name != "score":
            self._print_text(f"{name}, {total} {'rows' if name == 'predict' else 'steps'}")

    def step(self, done: int, loss: float | None = None) -> None:
        super().step(done, loss)
        total, updates = self.state.total, self.display.updates
        if updates and (done == total or done % max(1, total // updates) == 0):
            self._print_text(f"{self.state.phase}: {done} of {total}")

    def evaluated(self, metric: str, value: float, best: float) -> None:
        super().evaluated(metric, value, best)
        score, best_score = format_score(metric, value), format_score(metric, best)
        where = f"step {self.state.done}/{self.state.total}"
        self._print_text(f"{where}, {metric} {score} (best {best_score})")

    def changed(self, is_step: bool) -> None:
        self.show(self.state)

    def show(self, state: ProgressState, text: str | None = None) -> None:
        """Draw a state.

        Args:
            text: stands behind the bar; by default the loss and the best score.
        """
        bars = self.display._bars
        if self._task is not None and state.phase != self._phase:
            bars.remove_task(self._task)  # the time that is left is that of the phase
            self._task = None
        self._phase = state.phase
        if self._task is None:
            self._task = bars.add_task("", text="")
        parts = [] if state.loss is None else [f"loss {state.loss:.3f}"]
        if state.best is not None:
            parts.append(f"best {format_score(state.metric, state.best)}")
        bars.update(
            self._task,
            description=f"{escape(self.title)} [dim]{escape(state.phase)}[/dim]",
            total=state.total or None,
            completed=state.done,
            text=escape("  ".join(parts) if text is None else text),
        )

    def remove(self) -> None:
        """Take the line off the display."""
        if self._task is not None:
            self.display._bars.remove_task(self._task)
            self._task = None

    def _print_text(self, text: str) -> None:
        if not self.display.is_live:
            self.display.say(f"{self.title}: {text}" if self.title else text)


def format_seconds(seconds: float) -> str:
    """Returns a duration such as 45 s, 12 min or 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
