"""What a person sees while a grid goes on: a live line a worker in a terminal, a line a cell elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..grid.kinds import GridCell, Outcome
from ..grid.work import Progress
from ..store.records import format_score

REFRESH_SECONDS = 0.5


class LiveBoard:
    """A `grid.run.Board`, as a context.

    Args:
        console: where; a terminal gets live lines, anything else a line when a cell begins or ends.
        quiet: show nothing.
        total: cells that are to be done.
        workers: how many work on them.
    """

    def __init__(self, console: Console, quiet: bool, total: int, workers: int) -> None:
        self._console, self._quiet, self._total, self._workers = console, quiet, total, workers
        is_live = console.is_terminal and not quiet
        self._live = Live(console=console, auto_refresh=False, transient=True) if is_live else None
        self._at_work: dict[int, tuple[GridCell, Progress | None]] = {}
        self._ended = self._failed = 0
        self._began = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> LiveBoard:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, worker: int, cell: GridCell) -> None:
        self._at_work[worker] = (cell, None)
        if not self._live:
            self._say(f"{cell}: begins on worker {worker + 1}")
        self._draw(at_once=True)

    def progress(self, worker: int, cell: GridCell, now: Progress) -> None:
        self._at_work[worker] = (cell, now)
        self._draw()

    def end(self, worker: int, cell: GridCell, outcome: Outcome) -> None:
        self._at_work.pop(worker, None)
        self._ended += 1
        self._failed += outcome.status != "done"
        self._say(f"[{self._ended}/{self._total}] {cell}: {outcome_words(outcome)}")
        self._draw(at_once=True)

    def leave(self, worker: int, cell: GridCell, why: str) -> None:
        self._at_work.pop(worker, None)
        self._say(f"{cell}: {why}; it waits for its turn")
        self._draw(at_once=True)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self, at_once: bool = False) -> None:
        if self._live and (at_once or time.monotonic() - self._drawn >= REFRESH_SECONDS):
            self._drawn = time.monotonic()
            self._live.update(Group(self._overall(), self._lines()), refresh=True)

    def _overall(self) -> Text:
        elapsed = time.monotonic() - self._began
        words = f"{self._ended} of {self._total} cells done in {clock(elapsed)}"
        if self._failed:
            words += f", {self._failed} of them failed"
        return Text(words, style="bold")

    def _lines(self) -> Table:
        drawn = Table.grid(padding=(0, 2, 0, 0))
        for worker in sorted(self._at_work):
            cell, now = self._at_work[worker]
            drawn.add_row(
                Text(str(worker + 1), style="dim"),
                Text(str(cell)),
                Text(now.phase if now else "load", style="dim"),
                ProgressBar(total=now.total, completed=now.done, width=24) if now and now.total else "",
                f"{now.done}/{now.total}" if now and now.total else "",
                f"loss {now.loss:.3f}" if now and now.loss is not None else "",
                f"best {format_score(now.metric, now.best)}" if now and now.best is not None else "",
            )
        return drawn


def outcome_words(outcome: Outcome) -> str:
    """How a cell ended."""
    if outcome.status != "done":
        return f"{outcome.status}: {outcome.error}"
    words = "done"
    if outcome.score is not None:
        words = f"{outcome.score_name} {format_score(outcome.score_name, outcome.score)}"
    took = "" if outcome.seconds is None else f", {clock(outcome.seconds)}"
    return f"{words}{took}" + (f" ({outcome.error})" if outcome.error else "")


def clock(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
