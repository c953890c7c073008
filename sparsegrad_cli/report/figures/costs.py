"""Score against peak memory and against speed: a panel a task, a point a row, the Pareto front marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..scale import Scale
from ..section import Figure
from ..table import Spread
from .groups import Group, Panel
from .style import GREY, Look, grid_height, heading, legend_below, panel_grid, plain, save


@dataclass(frozen=True)
class Cost:
    """What stands on the other axis."""

    name: str
    words: str
    key: str  # of a run
    unit: float
    axis: str
    less_is_better: bool


COSTS = (
    Cost("memory", "peak memory", "peak_memory_bytes", 1e6, "peak memory, MB  (← better)", True),
    Cost("speed", "steps per second", "steps_per_second", 1.0, "steps/s  (better →)", False),
)


@dataclass(frozen=True)
class Point:
    """One cell: over its seeds, the cost in the unit of its axis and the score as it is shown."""

    cost: Spread
    score: Spread


Points = dict[str, Point]  # by label


def cost_figures(group: Group, into: Path, name: str) -> list[Figure]:
    """Those in which some task has two points at least."""
    found = []
    for cost in COSTS:
        of_panels = [(panel, cost_points(panel, cost)) for panel in group.panels]
        shown = [(panel, points) for panel, points in of_panels if len(points) > 1]
        if shown:
            path = into / f"{name}-{cost.name}.png"
            what = group.panels[0].scale.what
            _save(path, f"{group.title}: {what} against {cost.words}", shown, group.looks(), cost)
            found.append(Figure(f"{what} against {cost.words}, {group.title}", path))
    return found


def pareto_front(points: Sequence[tuple[float, float]], less_is_better: bool) -> list[int]:
    """Positions, by cost, of the points that no other one beats: none is as good in both and better in one.

    Args:
        points: cost and score; of scores, more is better.
    """

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        sign = -1 if less_is_better else 1
        gains = (sign * (one[0] - other[0]), one[1] - other[1])
        return min(gains) >= 0 < max(gains)

    best = [i for i, point in enumerate(points) if not any(beats(other, point) for other in points)]
    return sorted(best, key=lambda i: points[i])


def cost_points(panel: Panel, cost: Cost) -> Points:
    """Without the rows whose cost was not measured."""
    found = {}
    for label, row in panel.rows.items():
        measured = row.runs[row.runs[cost.key].notna()]
        if len(measured):
            found[label] = Point(
                Spread.over(measured[cost.key].astype(float) / cost.unit),
                Spread.over(panel.scale.times * measured["score"].astype(float)),
            )
    return found


def _save(
    path: Path,
    words: str,
    shown: Sequence[tuple[Panel, Points]],
    looks: Mapping[str, Look],
    cost: Cost,
) -> None:
    drawn = {label for _, points in shown for label in points}
    handles = [look.handle(line=False) for label, look in looks.items() if label in drawn]

    def fill(canvas: Canvas) -> None:
        for axes, (panel, points) in zip(panel_grid(canvas, len(shown)), shown, strict=True):
            plain(axes, panel.title)
            _draw(axes, points, looks, cost.less_is_better, panel.scale)
            axes.set_xlabel(cost.axis)
            axes.set_ylabel(panel.score_axis)
        heading(canvas, words)
        legend_below(canvas, handles)

    save(path, grid_height(len(shown), handles), fill)


def _draw(axes: Axes, points: Points, looks: Mapping[str, Look], less_is_better: bool, scale: Scale) -> None:
    sign = -1 if scale.less_is_better else 1
    places = [(point.cost.mean, point.score.mean) for point in points.values()]
    best = pareto_front([(cost, sign * score) for cost, score in places], less_is_better)
    front = list(zip(*(places[i] for i in best), strict=True))
    axes.plot(*front, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes.scatter(*front, s=110, facecolor="none", edgecolor=GREY, linewidth=0.8, zorder=2)
    for label, point in points.items():
        axes.errorbar(
            point.cost.mean,
            point.score.mean,
            xerr=point.cost.std,
            yerr=point.score.std,
            color=looks[label].colour,
            marker=looks[label].marker,
            markersize=5,
            linewidth=0.9,
            capsize=2,
            zorder=3,
        )
    axes.margins(x=0.15, y=0.15)
