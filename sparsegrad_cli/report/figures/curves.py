"""Training curves: the loss, and the score on the split that selects, a panel a task, a line a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..rows import RowRuns
from ..section import Figure
from .groups import Group, Panel
from .log import Log, read_log
from .style import Look, grid_height, heading, legend_below, panel_grid, plain, save

SPAN = 5  # logged losses, that their moving mean is over
WORDS = {"loss": "training loss", "score": "selection score"}
Lines = dict[str, pd.DataFrame]  # label -> steps x seeds


def curve_figures(group: Group, into: Path, name: str) -> list[Figure]:
    """The figures that there is anything to draw for: a line of two points at least."""
    logs = [{label: _logs(row) for label, row in panel.rows.items()} for panel in group.panels]
    found = []
    for what, draw in (("loss", _draw_loss), ("score", _draw_score)):
        lines = [
            {label: seeds_together([getattr(log, what) for log in of]) for label, of in p.items()}
            for p in logs
        ]
        shown = [pair for pair in zip(group.panels, lines, strict=True) if _is_a_line(pair[1])]
        words = WORDS[what]
        if what == "score" and group.panels[0].scale.less_is_better:
            words = group.panels[0].scale.what
        path = into / f"{name}-{words.replace(' ', '-')}.png"
        if shown:
            _save(path, f"{group.title}: {words}", shown, group.looks(), draw)
            found.append(Figure(f"{words} by steps, {group.title}", path))
    return found


def _logs(row: RowRuns) -> list[Log]:
    return [read_log(run["folder"], run["score_name"]) for run in row.runs.to_dict("records")]


def seeds_together(curves: Sequence[pd.Series]) -> pd.DataFrame:
    """A column a seed, as far as every seed went."""
    return pd.concat(curves, axis=1, keys=range(len(curves))).dropna()


def _is_a_line(lines: Lines) -> bool:
    return any(len(line) > 1 for line in lines.values())


def _save(
    path: Path,
    words: str,
    shown: Sequence[tuple[Panel, Lines]],
    looks: Mapping[str, Look],
    draw: Callable[[Axes, pd.DataFrame, Look], None],
) -> None:
    scores = draw is _draw_score
    drawn = {label for _, lines in shown for label, line in lines.items() if len(line)}
    handles = [look.handle(marker=scores) for label, look in looks.items() if label in drawn]

    def fill(canvas: Canvas) -> None:
        for axes, (panel, lines) in zip(panel_grid(canvas, len(shown)), shown, strict=True):
            plain(axes, panel.title)
            for label, line in lines.items():
                if len(line):
                    draw(axes, panel.scale.times * line if scores else line, looks[label])
            axes.set_xlabel("optimizer steps")
            axes.set_ylabel(panel.score_axis if scores else "training loss")
        heading(canvas, words)
        legend_below(canvas, handles)

    save(path, grid_height(len(shown), handles), fill)


def _draw_loss(axes: Axes, seeds: pd.DataFrame, look: Look) -> None:
    """The smoothed mean with the band of the smoothed seeds; the mean as it was logged, faint."""
    axes.plot(seeds.index, seeds.mean(axis=1), color=look.colour, linewidth=0.6, alpha=0.35)
    _draw_band(axes, seeds.rolling(SPAN, center=True, min_periods=1).mean(), look, marker="")


def _draw_score(axes: Axes, seeds: pd.DataFrame, look: Look) -> None:
    _draw_band(axes, seeds, look, look.marker)


def _draw_band(axes: Axes, seeds: pd.DataFrame, look: Look, marker: str) -> None:
    """The mean as a line, from the lowest to the highest seed as a band."""
    colour, x = look.colour, seeds.index
    axes.plot(x, seeds.mean(axis=1), color=colour, linestyle=look.dashes, marker=marker, markersize=4)
    if seeds.shape[1] > 1:
        axes.fill_between(x, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.15, linewidth=0)
