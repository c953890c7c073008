"""Figures of runs: differences as a forest plot, score against costs, rates and density, training curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullLocator

from ...paper import paper_cells, paper_family
from ..comparable import LINES, Row, TaskColumn
from ..load import read_log
from ..run_tables import GroupTable
from ..significance import AVERAGE, Comparison
from ..table import Figure, MeanStd, metric_words
from .style import (
    COLUMNS,
    DARK,
    GREY,
    Look,
    grid_height,
    heading,
    label_ends,
    looks,
    panel_grid,
    plain,
    save,
    spread,
)

SPAN = 5  # logged losses, that their moving mean is over
BAND = "#f2e8c9"  # of the margin within which rows are level
Points = list[tuple[float, MeanStd]]  # x and the score as it is shown


def forest_figure(made: GroupTable, path: Path) -> Figure | None:
    """Draws the differences with their intervals: a panel a row, a line a task, the average on top.

    None where nothing was compared over several seeds.
    """
    found = [each for each in made.significance.comparisons if len(each.seeds) > 1]
    fixed = made.fixed
    others = list(dict.fromkeys(e.other if e.subject == fixed else e.subject for e in found))[:LINES]
    tasks = [t for t in (*(c.name for c in made.columns), AVERAGE) if any(e.task == t for e in found)]
    if not others:
        return None
    look = looks((row.method, row.label) for row in made.rows)

    if len(tasks) == 1:  # a line a row in one panel
        panels = {
            "": [(other, each) for other in others for each in found if other in (each.subject, each.other)]
        }
        labels = others
    else:
        panels = {
            other: [(each.task, each) for each in found if other in (each.subject, each.other)]
            for other in others
        }
        labels = tasks
    times = f"{fixed} less" if found[0].subject == fixed else f"less {fixed}"

    def fill(canvas: Canvas) -> None:
        grid = panel_grid(canvas, len(panels), sharey=True, sharex=True)
        for axes, (other, own) in zip(grid, panels.items(), strict=True):
            each = [(labels.index(name), comparison, look[other or name]) for name, comparison in own]
            _draw_forest(axes, made, each)
            axes.set_title(f"{times}\n{other}" if other else times, fontsize=8)
            axes.set_yticks(range(len(labels)), labels=labels)
            axes.set_ylim(-0.6, len(labels) - 0.4)
            axes.set_xlabel(made.scale.unit, fontsize=8)
        heading(canvas, f"{made.group.title}: differences with 95% intervals")

    save(path, grid_height(len(panels), 1.0 + 0.24 * len(labels)), fill)
    return Figure(
        f"Differences of {made.scale.what} with their 95% intervals; filled: significant; the band: "
        f"level within {made.scale.margin:g} {made.scale.unit}",
        path,
    )


def _draw_forest(axes: Axes, made: GroupTable, lines: Sequence[tuple[int, Comparison, Look]]) -> None:
    plain(axes)
    axes.axvspan(-made.scale.margin, made.scale.margin, color=BAND, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    times = made.scale.times
    for place, each, look in lines:
        wide = 2.4 if each.task == made.main else 1.2
        axes.plot([times * each.low, times * each.high], [place, place], color=look.colour, linewidth=wide)
        fill = look.colour if each.verdict != "open" else "white"
        axes.scatter(times * each.difference, place, color=[fill], edgecolor=[look.colour], s=26, zorder=3)
    axes.grid(axis="y", visible=False)


def cost_figure(made: GroupTable, path: Path) -> Figure | None:
    """Draws the score against peak memory and against speed, a point a row; None where there are not two."""
    scored = [(row, made.main_score(row), made.costs[row.label]) for row in made.rows]
    costs = {
        "peak memory, MB  (← better)": [
            (r, s, c.peak_memory_bytes and c.peak_memory_bytes / 1e6) for r, s, c in scored
        ],
        "steps/s  (better →)": [(r, s, c.steps_per_second) for r, s, c in scored],
    }
    shown = {axis: [(r, s, x) for r, s, x in of if s and x] for axis, of in costs.items()}
    shown = {axis: points for axis, points in shown.items() if len(points) > 1}
    if not shown:
        return None
    look = looks((row.method, row.label) for row in made.rows)
    what = "average" if made.main == AVERAGE else metric_words(made.columns[0].score_name)

    def fill(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, (words, points) in zip(panels, shown.items(), strict=True):
            plain(axes)
            for row, score, x in points:
                each, scale = look[row.label], made.scale
                error = None if score.std is None else scale.times * score.std
                axes.errorbar(
                    x, scale.times * score.mean, yerr=error, color=each.colour, marker=each.marker, capsize=2
                )
            axes.margins(x=0.15, y=0.15)
            axes.set_xlabel(words)
        panels[0].set_ylabel(f"{what}{made.scale.axis}")
        heading(canvas, f"{made.group.title}: {made.scale.what} against costs")
        canvas.draw_without_rendering()
        for axes, points in zip(panels, shown.values(), strict=True):
            label_points(axes, [(x, made.scale.times * s.mean, look[r.label]) for r, s, x in points])

    save(path, 3.2, fill)
    return Figure(
        f"{made.scale.what.capitalize()} against peak memory and speed: means and deviations over seeds",
        path,
    )


def label_points(axes: Axes, points: Sequence[tuple[float, float, Look]]) -> None:
    """Writes the label of each point beside it, left of it in the right half of the panel."""
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    places = spread([y for _, y, _ in points], (top - bottom) * 0.07)
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    for (x, y, look), place in zip(points, places, strict=True):
        right = x > (low + high) / 2
        axes.annotate(
            look.label,
            (x, y),
            xytext=(-7 if right else 7, (place - y) / (top - bottom) * height),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=8,
            color=look.colour,
            bbox={"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.8, "linewidth": 0},
            zorder=4,
        )


def rate_figure(made: GroupTable, path: Path) -> Figure | None:
    """Draws the score against the learning rate, a panel a task, a line a row, a band over seeds."""
    shown: list[tuple[TaskColumn, dict[str, Points]]] = []
    for column in made.columns:
        lines = {row.label: _by_rate(row, column) for row in made.rows[:LINES]}
        lines = {label: points for label, points in lines.items() if len(points) > 1}
        if lines:
            shown.append((column, lines))
    return _x_figure(made, shown, path, "learning rate", lambda x: f"{x:g}", {})


def kept_figure(made: GroupTable, path: Path) -> Figure | None:
    """Draws the score against the share of entries kept, with the paper's tables 11 and 12."""
    family = paper_family(made.group.first["model"]) if made.group.kind == "GLUE" else None
    shown, paper = [], {}
    for column in made.columns:
        lines: dict[str, Points] = {}
        for row in made.group.all_rows:
            share, score = row.runs["density"].iloc[0], made.score(row, column)
            if set(row.settings) <= {"density"} and share is not None and score:
                lines.setdefault(row.method, []).append((float(share), _shown(score, column)))
        lines = {
            method: sorted(points, key=lambda p: p[0]) for method, points in lines.items() if len(points) > 1
        }
        if lines:
            shown.append((column, lines))
            cells = [
                c for n in (11, 12) for c in paper_cells(n) if (c.model, c.column) == (family, column.task)
            ]
            paper[column.name] = [
                (c.kept_percent / 100, c.value) for c in cells if c.kept_percent is not None
            ]
    return _x_figure(made, shown, path, "entries kept at a step", lambda x: f"{100 * x:g}%", paper)


def _x_figure(
    made: GroupTable,
    shown: Sequence[tuple[TaskColumn, dict[str, Points]]],
    path: Path,
    what: str,
    tick: Callable[[float], str],
    paper: dict[str, list[tuple[float, float]]],
) -> Figure | None:
    """Panels of score against something on a logarithmic axis."""
    if not shown:
        return None
    pairs = [(row.method, row.label) for row in made.rows]
    look = looks([*pairs, *((m, m) for _, lines in shown for m in lines if m not in dict(pairs).values())])

    def fill(canvas: Canvas) -> None:
        panels = panel_grid(canvas, len(shown))
        for axes, (column, lines) in zip(panels, shown, strict=True):
            plain(axes, column.name)
            axes.set_xscale("log")
            for label, points in lines.items():
                x, each = [place for place, _ in points], look[label]
                mean = np.array([score.mean for _, score in points])
                std = np.array([score.std or 0.0 for _, score in points])
                axes.plot(x, mean, color=each.colour, linestyle=each.dashes, marker=each.marker, markersize=4)
                axes.fill_between(x, mean - std, mean + std, color=each.colour, alpha=0.15, linewidth=0)
            if of_paper := sorted(paper.get(column.name, [])):
                axes.plot(
                    *zip(*of_paper, strict=True), color=DARK, linestyle=(0, (4, 2)), marker="x", linewidth=0.8
                )
            ticks = sorted({x for points in lines.values() for x, _ in points})
            axes.set_xticks(ticks[:: max(1, len(ticks) // 5)])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(what)
            axes.set_ylabel(f"{metric_words(column.score_name)}{column.scale.axis}")
        heading(canvas, f"{made.group.title}: {made.scale.what} against {what}")
        canvas.draw_without_rendering()
        for axes, (_, lines) in zip(panels, shown, strict=True):
            ends = [(points[-1][0], points[-1][1].mean, look[label]) for label, points in lines.items()]
            label_ends(axes, ends, room=0.35)

    save(path, grid_height(len(shown), 3.0 if len(shown) == 1 else 2.4), fill)
    return Figure(
        f"{made.scale.what.capitalize()} against {what}: means over seeds, bands of one standard deviation",
        path,
    )


def _by_rate(row: Row, column: TaskColumn) -> Points:
    runs = column.of(row.everything)
    batch = row.choices[column.name].recipe[-1] if column.name in row.choices else None
    runs = runs[runs["batch_size"].eq(batch)]
    by_rate = runs.groupby(runs["learning_rate"].astype(float))["score"]
    return [(float(rate), _shown(MeanStd.over(map(float, scores)), column)) for rate, scores in by_rate]


def _shown(score: MeanStd, column: TaskColumn) -> MeanStd:
    times = column.scale.times
    return MeanStd(times * score.mean, None if score.std is None else times * score.std, score.n)


def curve_figures(made: GroupTable, folder: Path, name: str) -> list[Figure]:
    """Draws training loss and score on the selecting split against steps: a panel a task, a line a row."""
    figures = []
    logs = {
        column.name: {
            row.label: [
                read_log(run["folder"], run["score_name"]) for run in column.of(row.runs).to_dict("records")
            ]
            for row in made.rows[:LINES]
            if column.name in row.choices
        }
        for column in made.columns
    }
    for what in ("loss", "score"):
        shown = []
        for column in made.columns:
            lines = {label: _seeds_together(of, what) for label, of in logs[column.name].items()}
            lines = {label: line for label, line in lines.items() if len(line) > 1}
            if lines:
                shown.append((column, lines))
        words = "training loss" if what == "loss" else "score on the split that selects"
        if shown:
            path = folder / f"{name}-{'training-loss' if what == 'loss' else 'selection-score'}.png"
            _save_curves(made, shown, path, words, what == "score")
            figures.append(
                Figure(
                    f"{words.capitalize()} by steps: means over seeds, bands from the lowest to the highest",
                    path,
                )
            )
    return figures


def _seeds_together(logs: Sequence[pd.DataFrame], what: str) -> pd.DataFrame:
    """Steps x seeds, as far as every seed went."""
    series = [log.dropna(subset=[what]).drop_duplicates("step").set_index("step")[what] for log in logs]
    return pd.concat(series, axis=1, keys=range(len(series))).dropna() if series else pd.DataFrame()


def _save_curves(
    made: GroupTable,
    shown: Sequence[tuple[TaskColumn, dict[str, pd.DataFrame]]],
    path: Path,
    words: str,
    scores: bool,
) -> None:
    look = looks((row.method, row.label) for row in made.rows)

    def fill(canvas: Canvas) -> None:
        panels = panel_grid(canvas, len(shown))
        ends = []
        for axes, (column, lines) in zip(panels, shown, strict=True):
            plain(axes, column.name)
            ends.append(
                [_draw_curve(axes, line, look[label], column, scores) for label, line in lines.items()]
            )
            axes.set_xlabel("optimizer steps")
        for axes in panels[::COLUMNS]:
            axes.set_ylabel(f"score{made.scale.axis}" if scores else "training loss")
        heading(canvas, f"{made.group.title}: {words}")
        canvas.draw_without_rendering()
        for axes, of_panel in zip(panels, ends, strict=True):
            label_ends(axes, of_panel, room=0.45 if len(panels) > 1 else 0.3)

    save(path, grid_height(len(shown), 3.0 if len(shown) == 1 else 2.4), fill)


def _draw_curve(
    axes: Axes, line: pd.DataFrame, look: Look, column: TaskColumn, scores: bool
) -> tuple[float, float, Look]:
    """The mean as a line, from the lowest to the highest seed as a band; losses smoothed. Returns its end."""
    smooth = column.scale.times * line if scores else line.rolling(SPAN, center=True, min_periods=1).mean()
    mean, steps = smooth.mean(axis=1), smooth.index.to_numpy(float)
    marker = look.marker if scores else ""
    axes.plot(
        steps, mean, color=look.colour, linestyle=look.dashes, marker=marker, markersize=3.5, linewidth=1.2
    )
    if smooth.shape[1] > 1:
        low, high = smooth.min(axis=1), smooth.max(axis=1)
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.13, linewidth=0)
    return float(steps[-1]), float(mean.iloc[-1]), look
