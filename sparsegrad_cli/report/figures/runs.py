"""Figures of runs: differences as a forest plot, score against costs, rates and density, training curves.

Each function draws what it can of a group and returns it: no figure, one or several. `FIGURES` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator

from ...paper import paper_cells, paper_family
from ..comparable import LINES, Row, TaskColumn
from ..load import read_log
from ..run_tables import GroupTable
from ..significance import AVERAGE, Comparison
from ..table import Figure, MeanStd, metric_words
from .style import (
    DARK,
    GREY,
    Look,
    grid_height,
    heading,
    label_ends,
    looks,
    mark_points,
    panel_grid,
    plain,
    save,
)

SPAN = 5  # logged losses, that their moving mean is over
DENSE = 10  # points of a line, from which on they are not marked
BAND = "#f2e8c9"  # of the margin within which rows are level
Panels = dict[str, dict[str, pd.DataFrame]]  # by the name of a task lines by label, see `_band`


def _looks(made: GroupTable) -> dict[str, Look]:
    return looks([(row.method, row.label) for row in made.group.all_rows])


def forest_figure(made: GroupTable, name: Path) -> list[Figure]:
    """Draws the differences of several seeds with their intervals: a panel a row, a line a task."""
    found = [each for each in made.significance.comparisons if len(each.seeds) > 1]
    fixed, look = made.fixed, _looks(made)
    others = list(dict.fromkeys(e.other if e.subject == fixed else e.subject for e in found))
    tasks = [t for t in (*(c.name for c in made.columns), AVERAGE) if any(e.task == t for e in found)]
    if not others:
        return []
    if len(tasks) > 1:  # a panel each
        drawn = {row.label for row in made.drawn}
        others = [other for other in others if other in drawn]
    of_other = {o: [each for each in found if o in (each.subject, each.other)] for o in others}
    if len(tasks) == 1:  # a line a row in one panel
        labels = [look[other].label for other in others]
        panels = {"": [(n, each, look[other]) for n, other in enumerate(others) for each in of_other[other]]}
    else:
        labels = tasks
        panels = {
            look[other].label: [(tasks.index(each.task), each, look[other]) for each in of_other[other]]
            for other in others
        }
    title = f"{fixed} less\n{{}}" if made.significance.is_subject else f"{{}}\nless {fixed}"
    lines = max(1.0, max(label.count("\n") for label in labels) + 0.6)

    def fill(canvas: Canvas) -> None:
        grid = panel_grid(canvas, len(panels), sharey=True, sharex=True)
        for axes, (other, own) in zip(grid, panels.items(), strict=True):
            _draw_forest(axes, made, own)
            axes.set_title(title.format(other).strip(), fontsize=8)
            axes.set_yticks(range(len(labels)), labels=labels)
            axes.set_ylim(-0.6, len(labels) - 0.4)
            axes.set_xlabel(made.scale.unit, fontsize=8)
        heading(canvas, f"{made.group.title}: differences with 95% intervals")

    path = name.with_name(f"{name.name}-forest.png")
    save(path, grid_height(len(panels), 1.0 + 0.24 * lines * len(labels)), fill)
    words = (
        f"Differences of {made.scale.what} with their 95% intervals; filled: significant; the band: "
        f"level within {made.scale.margin_words}"
    )
    return [Figure(words, path)]


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


def cost_figure(made: GroupTable, name: Path) -> list[Figure]:
    """Draws the score against peak memory and against speed, a point a row, of two rows or more."""
    scale, look = made.scale, _looks(made)
    shown: dict[str, list[tuple[float, MeanStd, Look]]] = {}
    for axis, cost, times in (
        ("peak memory, MB  (← better)", "peak_memory_bytes", 1e-6),
        ("steps/s  (better →)", "steps_per_second", 1.0),
    ):
        points = [
            (times * value, score.times(scale.times), look[row.label])
            for row in made.rows
            if (score := made.main_score(row)) and (value := getattr(made.costs[row.label], cost))
        ]
        if len(points) > 1:
            shown[axis] = points
    if not shown:
        return []
    what = "average" if made.main == AVERAGE else metric_words(made.columns[0].score_name)

    def fill(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, (words, points) in zip(panels, shown.items(), strict=True):
            plain(axes)
            for x, y, each in points:
                axes.errorbar(x, y.mean, yerr=y.std, color=each.colour, fmt="none", capsize=2)
            axes.update_datalim([(x, y.mean) for x, y, _ in points])
            axes.margins(x=0.15, y=0.2)
            axes.set_xlabel(words)
        panels[0].set_ylabel(f"{what}{scale.axis}")
        heading(canvas, f"{made.group.title}: {scale.what} against costs")
        canvas.draw_without_rendering()
        for axes, points in zip(panels, shown.values(), strict=True):
            mark_points(axes, [(x, y.mean, each) for x, y, each in points])

    path = name.with_name(f"{name.name}-costs.png")
    save(path, 3.2, fill)
    what = scale.what.capitalize()
    return [Figure(f"{what} against peak memory and speed: means and deviations over seeds", path)]


def rate_figure(made: GroupTable, name: Path) -> list[Figure]:
    """Draws the score against the learning rate, a panel a task, a line a row, a band over seeds."""
    panels = {c.name: {row.label: _by_rate(row, c) for row in made.drawn} for c in made.columns}
    path = name.with_name(f"{name.name}-rates.png")
    return _score_figure(made, panels, path, "learning rate", lambda rate: f"{rate:g}", made.not_drawn)


def _by_rate(row: Row, column: TaskColumn) -> pd.DataFrame:
    runs = column.of(row.everything)
    batch = row.choices[column.name].recipe[-1] if column.name in row.choices else None
    runs = runs[runs["batch_size"].eq(batch)]
    return _line(column, runs["learning_rate"].astype(float), runs["score"].astype(float))


def kept_figure(made: GroupTable, name: Path) -> list[Figure]:
    """Draws the score against the share of entries kept, with the paper's tables 11 and 12."""
    family = paper_family(made.group.first["model"]) if made.group.kind == "GLUE" else None
    panels: Panels = {}
    for column in made.columns:
        rows = [row for row in made.group.all_rows if set(row.settings) <= {"density"}]
        runs = pd.concat([column.of(row.runs) for row in rows] or [column.of(made.group.runs)[:0]])
        runs = runs[runs["density"].notna()]
        panels[column.name] = {
            str(method): _line(column, of["density"].astype(float), of["score"].astype(float))
            for method, of in runs.groupby("method")
        }
        cells = [c for n in (11, 12) for c in paper_cells(n) if (c.model, c.column) == (family, column.task)]
        papers = {c.kept_percent / 100: c.value for c in cells if c.kept_percent}
        if papers and any(len(line) > 1 for line in panels[column.name].values()):
            panels[column.name]["paper"] = _band(pd.Series(papers).sort_index())
    path = name.with_name(f"{name.name}-kept.png")
    return _score_figure(made, panels, path, "entries kept at a step", lambda share: f"{100 * share:g}%")


def _line(column: TaskColumn, x: pd.Series, score: pd.Series) -> pd.DataFrame:
    """The mean over the runs at each x, and a band of their standard deviation, as scores are shown."""
    by_x = (column.scale.times * score).groupby(x)
    std = by_x.std().fillna(0.0)
    return _band(by_x.mean(), by_x.mean() - std, by_x.mean() + std)


def _band(mean: pd.Series, low: pd.Series | None = None, high: pd.Series | None = None) -> pd.DataFrame:
    """A line: by x its `mean`, `low` and `high`."""
    return pd.DataFrame(
        {"mean": mean, "low": mean if low is None else low, "high": mean if high is None else high}
    )


def _score_figure(
    made: GroupTable, panels: Panels, path: Path, what: str, tick: Callable[[float], str], not_drawn: str = ""
) -> list[Figure]:
    """Score against something that was varied, on a logarithmic axis."""
    text = f"{made.scale.what.capitalize()} against {what}: means over seeds, bands of one standard deviation"
    text += not_drawn
    return _line_figure(made, panels, path, what, text, tick=tick)


def curve_figures(made: GroupTable, name: Path) -> list[Figure]:
    """Draws training loss and score on the selecting split against steps: a panel a task, a line a row."""
    logs = [
        (column, row.label, [read_log(folder, column.score_name) for folder in column.of(row.runs)["folder"]])
        for row in made.drawn
        for column in made.columns
        if column.name in row.choices
    ]
    figures = []
    for what, words in (("loss", "Training loss"), ("score", "Score on the split that selects")):
        panels: Panels = {column.name: {} for column in made.columns}
        for column, label, of_seeds in logs:
            seeds = _seeds_together(of_seeds, what)
            if what == "score":
                seeds = column.scale.times * seeds
            else:
                seeds = seeds.rolling(SPAN, center=True, min_periods=1).mean()
            panels[column.name][label] = _band(seeds.mean(axis=1), seeds.min(axis=1), seeds.max(axis=1))
        path = name.with_name(f"{name.name}-{'training-loss' if what == 'loss' else 'selection-score'}.png")
        text = f"{words}: means over seeds, bands from the lowest to the highest{made.not_drawn}"
        figures += _line_figure(
            made, panels, path, "optimizer steps", text, y_words=words.lower() if what == "loss" else ""
        )
    return figures


def _seeds_together(logs: Sequence[pd.DataFrame], what: str) -> pd.DataFrame:
    """Steps x seeds, as far as every seed went."""
    series = [log.dropna(subset=[what]).drop_duplicates("step").set_index("step")[what] for log in logs]
    return pd.concat(series, axis=1, keys=range(len(series))).dropna()


def _line_figure(
    made: GroupTable,
    panels: Panels,
    path: Path,
    x_words: str,
    text: str,
    y_words: str = "",
    tick: Callable[[float], str] | None = None,
) -> list[Figure]:
    """Draws a panel a task with a line a row, its label at its end; lines of one point are left out.

    Args:
        text: what is shown, a colon, and what lines and bands are.
        y_words: by default the task's metric.
        tick: how a place on the axis of x is written, which is logarithmic then.
    """
    kept = {name: list(lines.items())[:LINES] for name, lines in panels.items()}
    shown = {name: {label: line for label, line in lines if len(line) > 1} for name, lines in kept.items()}
    columns = [column for column in made.columns if shown.get(column.name)]
    if not columns:
        return []
    look = _looks(made) | {"paper": Look("paper", to_rgb(DARK), "x", (0, (4, 2)))}

    def fill(canvas: Canvas) -> None:
        grid = panel_grid(canvas, len(columns))
        for axes, column in zip(grid, columns, strict=True):
            plain(axes, column.name)
            for label, line in shown[column.name].items():
                _draw_line(axes, line, look[label])
            if tick is not None:
                places = _spaced({float(x) for line in shown[column.name].values() for x in line.index})
                axes.set_xscale("log")
                axes.set_xticks(places, labels=list(map(tick, places)))
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(x_words)
            axes.set_ylabel(y_words or f"{metric_words(column.score_name)}{column.scale.axis}")
        heading(canvas, f"{made.group.title}: {text[0].lower()}{text[1:].partition(':')[0]}")
        canvas.draw_without_rendering()
        for axes, column in zip(grid, columns, strict=True):
            lines = shown[column.name].items()
            ends = [(line.index[-1], line["mean"].iloc[-1], look[label]) for label, line in lines]
            label_ends(axes, ends, room=0.45 if len(grid) > 1 else 0.3)

    save(path, grid_height(len(columns)), fill)
    return [Figure(text, path)]


def _spaced(places: set[float]) -> list[float]:
    """Places on a logarithmic axis, without those too near to one before them for a label."""
    kept: list[float] = []
    for place in sorted(places):
        if not kept or place / kept[-1] > (max(places) / min(places)) ** 0.15:
            kept.append(place)
    return kept


def _draw_line(axes: Axes, line: pd.DataFrame, look: Look) -> None:
    marker = look.marker if len(line) < DENSE else ""
    how: dict[str, Any] = {"linestyle": look.dashes, "marker": marker, "markersize": 4, "linewidth": 1.2}
    axes.plot(line.index, line["mean"], color=look.colour, **how)
    axes.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=0.14, linewidth=0)


FIGURES: dict[str, Callable[[GroupTable, Path], list[Figure]]] = {
    "forest": forest_figure,
    "costs": cost_figure,
    "rates": rate_figure,
    "kept": kept_figure,
    "training": curve_figures,
}
