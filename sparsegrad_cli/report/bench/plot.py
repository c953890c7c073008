"""Steps per second against peak memory, a point a row; full fine-tuning and LoRA as lines to compare with."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ...bench.folder import Bench
from ...bench.schema import BenchConfig, BenchResult, Row
from ...store.io import write_atomically
from .caption import machine, title

COLOURS = {"ft": "#444444", "lora": "#c1651a", "meprop": "#7b4fa3", "sparsegrad": "#1f6fb2"}
LINES = {"ft": (0, (6, 3)), "lora": (0, (1, 2))}
OTHER = "#888888"
# where a label may stand, from its point, in points; the first that is free is taken
PLACES = [
    *[(7, 5), (7, -12), (-7, 5), (-7, -12), (0, 9), (0, -16), (7, 16), (-7, 16), (7, -23), (-7, -23)],
    *[(14, 27), (-14, 27), (14, -34), (-14, -34), (20, 38), (-20, 38), (20, -45), (-20, -45)],
]


def save_plot(bench: Bench, path: Path) -> None:
    """Draws the finished rows of a benchmark of steps to `path`, a PNG."""
    config, result = bench.config, bench.result
    assert isinstance(config, BenchConfig)
    assert isinstance(result, BenchResult)
    rows = [row for row in result.rows if row.status == "done"]
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(7, 4.6), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, rows)
        figure.suptitle(title(config), fontsize=10, fontweight="bold")
        axes.set_title(machine(bench), fontsize=8, color="#555555")
        figure.draw_without_rendering()
        _label(axes, rows)
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def _draw(axes: Axes, rows: list[Row]) -> None:
    for row in rows:
        x, y = _point(row)
        colour = COLOURS.get(row.method, OTHER)
        if row.method in LINES:
            axes.axhline(y, color=colour, linestyle=LINES[row.method], linewidth=0.8, zorder=1)
            axes.axvline(x, color=colour, linestyle=LINES[row.method], linewidth=0.8, zorder=1)
        hollow = row.support in ("fixed", "block")
        axes.scatter(x, y, s=42, color="white" if hollow else colour, edgecolor=colour, zorder=3)
    axes.margins(x=0.28, y=0.16)
    low, high = axes.get_ylim()
    axes.set_ylim(max(0, low), high)
    axes.set_xlabel("peak memory of a step, MB (10⁶ bytes)  ← less is better")
    axes.set_ylabel("steps per second  → more is better")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.6, zorder=0)


def _label(axes: Axes, rows: list[Row]) -> None:
    """Names at the points, where they cover neither one another nor a point."""
    renderer = axes.figure.canvas.get_renderer()
    taken = []
    for row in rows:
        x, y = axes.transData.transform(_point(row))
        taken.append(Bbox.from_extents(x - 8, y - 8, x + 8, y + 8))
    frame = axes.get_window_extent(renderer)
    for row in rows:
        colour = COLOURS.get(row.method, OTHER)
        for dx, dy in PLACES:
            text = axes.annotate(
                row.name,
                _point(row),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                color=colour,
                bbox={"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.8, "linewidth": 0},
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5} if abs(dy) > 16 else None,
                zorder=4,
            )
            box = text.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            if (dx, dy) != PLACES[-1]:
                text.remove()
        taken.append(box)


def _point(row: Row) -> tuple[float, float]:
    assert row.peak_memory_bytes is not None
    assert row.steps_per_second is not None
    return row.peak_memory_bytes / 1e6, row.steps_per_second
