"""What a person sees while studies go on: a live table in a terminal, a line for each trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..store.records import format_score
from ..sweep.schema import FAILED, Sweep, TrialRecord
from ..sweep.space import Value

SHOWN = 24  # studies, at most; those that are under way come first


class SweepWatch:
    """Shows studies as they stand, as a context.

    Args:
        console: where; a terminal gets one live table, anything else a line when a trial has ended.
        quiet: show nothing.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        is_live = console.is_terminal and not quiet
        self._live = Live(console=console, auto_refresh=False, transient=True) if is_live else None
        self._seen: set[tuple[str, int]] | None = None

    def __enter__(self) -> SweepWatch:
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

    def show(self, sweeps: Sequence[Sweep], workers: int) -> None:
        """Shows them; `workers` processes are at work here."""
        if self._quiet:
            return
        ended = [(sweep, trial) for sweep in sweeps for trial in sweep.result.trials if _has_ended(trial)]
        if self._seen is None:  # what was done before this command is no news
            self._seen = {(sweep.result.id, trial.slot) for sweep, trial in ended}
        news = [(s, t) for s, t in ended if (s.result.id, t.slot) not in self._seen]
        self._seen |= {(sweep.result.id, trial.slot) for sweep, trial in news}
        for sweep, trial in sorted(news, key=lambda one: one[1].ended or ""):
            self.tell(f"{_name(sweep)}: {trial_line(sweep, trial)}")
        if self._live:
            self._live.update(_drawn(sweeps, workers), refresh=True)

    def tell(self, line: str) -> None:
        """Prints a line, above the table where there is one."""
        if not self._quiet:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def trial_line(sweep: Sweep, trial: TrialRecord) -> str:
    """How a trial ended, with its values, and the best so far."""
    best, metric = sweep.result.best, sweep.config.score_name
    how = format_score(metric, trial.score) if trial.score is not None else f"{trial.state} ({trial.reason})"
    again = f", as trial {trial.same_as}" if trial.same_as is not None and trial.score is not None else ""
    took = f", {trial.seconds:.0f} s" if trial.seconds is not None else ""
    so_far = f"; best {format_score(metric, best.score)}" if best and best.score is not None else ""
    count = f"trial {trial.number}, {sweep.result.finished} of {sweep.result.asked} done"
    return f"{count}: {how}{again} ({values_words(trial.params)}{took}){so_far}"


def values_words(values: dict[str, Value]) -> str:
    """Hyperparameters in words."""
    words = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in values.items()]
    return ", ".join(words) or "no values yet"


def left_words(sweeps: Sequence[Sweep], workers: int) -> str:
    """An estimate of the time that is left; empty while no trial has ended."""
    taken = [t.seconds for s in sweeps for t in s.result.trials if _has_ended(t) and t.seconds]
    if not taken or not workers:
        return ""
    mean = sum(taken) / len(taken)
    seconds = sum(
        (_mean([t.seconds for t in s.result.trials if _has_ended(t) and t.seconds]) or mean)
        * (s.result.asked - s.result.finished)
        for s in sweeps
    )
    minutes = round(seconds / workers / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} min" if minutes < 100 else f"about {minutes / 60:.1f} h"


def _has_ended(trial: TrialRecord) -> bool:
    return trial.state in ("complete", "pruned", *FAILED)


def _mean(seconds: Sequence[float]) -> float | None:
    return sum(seconds) / len(seconds) if seconds else None


def _name(sweep: Sweep) -> str:
    return f"{sweep.config.task} {sweep.config.method}"


def _value(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _drawn(sweeps: Sequence[Sweep], workers: int) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("task", "method"):
        table.add_column(head)
    for head in ("done", "running", "pruned", "failed", "best", "with"):
        table.add_column(head, justify="left" if head == "with" else "right")
    order = sorted(sweeps, key=lambda sweep: -sweep.result.count("running"))
    for sweep in order[:SHOWN]:
        result, best = sweep.result, sweep.result.best
        table.add_row(
            sweep.config.task,
            sweep.config.method,
            f"{result.finished}/{result.asked}",
            str(result.count("running")),
            str(result.count("pruned")),
            str(result.count(*FAILED)),
            format_score(sweep.config.score_name, best.score) if best and best.score is not None else "–",
            values_words(best.params) if best else "",
        )
    running = [
        Text(f"  {_name(sweep)} trial {trial.number}: {_running_words(sweep, trial)}", style="dim")
        for sweep in order
        for trial in sweep.result.trials
        if trial.state == "running"
    ]
    more = [Text(f"… and {len(order) - SHOWN} studies more", style="dim")] if len(order) > SHOWN else []
    left = left_words(sweeps, workers)
    foot = f"{workers} worker{'s' if workers != 1 else ''}" + (f", {left} left" if left else "")
    return Group(table, *more, *running[:SHOWN], Text(f"{foot}   {time.strftime('%H:%M:%S')}", style="dim"))


def _running_words(sweep: Sweep, trial: TrialRecord) -> str:
    words, scores = values_words(trial.params), trial.evaluations.values()
    if not scores:
        return words
    best = format_score(sweep.config.score_name, sweep.result.better(scores))
    return f"{words}, best {best} of {len(scores)} evaluations"
