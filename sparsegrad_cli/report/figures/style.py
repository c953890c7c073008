"""What all figures share: the canvas, a look for each row, panels side by side, labels at the lines."""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from PIL import Image

from ...methods import order_and_colour
from ...store.io import write_atomically

WIDTH, DPI = 7.0, 130  # of every figure, in inches and dots
DARK, GREY, FAINT = "#222222", "#666666", "#eeeeee"
MARKERS = "osD^vP"
DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1)), (0, (6, 1)))
TINTS = ((0.0, 1.0), (0.45, 1.0), (0.45, 0.0), (0.7, 1.0), (0.25, 0.0), (0.25, 1.0))  # how much of which grey
TITLE, LABEL = 84, 24  # characters in a line of a title, of a label
SHADES = 128  # colours that a PNG keeps
NEAR = 10  # pixels between points, below which one hides the other
# where a point's label may stand, the best first: right or left, above or below, in points
PLACES = [(x, y) for y in (0, 10, -10, 20, -20, 32, -32) for x in (9, -9)] + [(0, 14), (0, -14)]


@dataclass(frozen=True)
class Look:
    """How one row of a table is drawn in every figure."""

    label: str
    colour: tuple[float, float, float]
    marker: str
    dashes: Any


def looks(rows: Iterable[tuple[str, str]]) -> dict[str, Look]:
    """Returns a look for each (method, label): the method's colour, tinted for its further rows."""
    seen: Counter[str] = Counter()
    found = {}
    for method, label in dict.fromkeys(rows):
        place = seen[method] % len(TINTS)
        seen[method] += 1
        share, grey = TINTS[place]
        colour = to_rgb(order_and_colour(method)[1])
        red, green, blue = ((1 - share) * part + share * grey for part in colour)
        found[label] = Look(textwrap.fill(label, LABEL), (red, green, blue), MARKERS[place], DASHES[place])
    return found


def save(path: Path, height: float, draw: Callable[[Canvas], None]) -> None:
    """Lets `draw` fill a canvas `height` inches high, and writes it to `path`, a PNG of few colours."""
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif"}):
        canvas = Canvas(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(canvas)
        draw(canvas)
        write_png(path, pixels(canvas))


def pixels(canvas: Canvas) -> np.ndarray:
    """Returns a drawn canvas as height x width x 3 bytes."""
    agg = FigureCanvasAgg(canvas)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes height x width x 3 bytes to `path`, whole or not at all."""
    packed = io.BytesIO()
    Image.fromarray(image).quantize(SHADES).save(packed, format="png", optimize=True)
    write_atomically(path, lambda temporary: Path(temporary).write_bytes(packed.getvalue()))


def panel_columns(panels: int) -> int:
    """Returns how many of so many panels stand side by side."""
    return min(panels, 2 if panels == 4 else 3)


def panel_grid(canvas: Canvas, panels: int, **how: Any) -> list[Axes]:
    """Returns so many panels, side by side and below one another."""
    columns = panel_columns(panels)
    grid = canvas.subplots(ceil(panels / columns), columns, squeeze=False, **how)
    for spare in grid.flat[panels:]:
        spare.remove()
    return list(grid.flat[:panels])


def grid_height(panels: int, of_panel: float | None = None) -> float:
    """Returns the inches of so many panels with the title above."""
    usual = 3.0 if panels == 1 else 2.4
    return 0.5 + (of_panel or usual) * ceil(panels / panel_columns(panels))


def plain(axes: Axes, title: str = "") -> None:
    """Leaves two spines, a faint grid, a small title."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=9)


def heading(canvas: Canvas, words: str) -> None:
    canvas.suptitle(textwrap.fill(words, TITLE), fontsize=10, fontweight="bold")


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, Look]], room: float = 0.3) -> None:
    """Writes each line's label right of its end, moved apart where they would touch.

    Args:
        ends: x, y and look of each line's last point.
        room: width for the labels, as a part of the panel's.
    """
    if not ends:
        return
    low, high = axes.get_xlim()
    is_log = axes.get_xscale() == "log"
    axes.set_xlim(low, high * (high / low) ** room if is_log else high + (high - low) * room)
    bottom, top = axes.get_ylim()
    height = (axes.get_window_extent().height or 1.0) * 72 / axes.figure.dpi  # in points
    heights = [(top - bottom) * (11 + 10 * look.label.count("\n")) / height for _, _, look in ends]
    places = spread([y for _, y, _ in ends], heights)
    # none is cut by the axis below
    below = max(0.0, *(bottom + high / 2 - place for place, high in zip(places, heights, strict=True)))
    for (x, y, look), place in zip(ends, places, strict=True):
        _label(axes, x, y, look, (7, (place + below - y) / (top - bottom) * height))


def mark_points(axes: Axes, points: Sequence[tuple[float, float, Look]]) -> None:
    """Draws points with their labels, each where it hides the least of points, lines and other labels.

    Of points that lie on one another the lower ones are wider rings.

    Args:
        points: x, y and look of each; the layout of the canvas is known.
    """
    pixels = axes.transData.transform([(x, y) for x, y, _ in points])
    for place, (x, y, look) in enumerate(points):
        above = int((np.hypot(*(pixels[place + 1 :] - pixels[place]).T) < NEAR).sum())
        how: dict[str, Any] = {"fillstyle": "none"} if above else {}
        axes.plot(x, y, look.marker, color=look.colour, markersize=6 + 5 * above, zorder=3, **how)
    taken = [line.get_window_extent() for line in axes.lines]
    taken += [bars.get_datalim(axes.transData).transformed(axes.transData) for bars in axes.collections]
    panel = axes.get_window_extent()

    def hidden(label: Annotation) -> float:
        """What the label covers, and what of it lies outside, in square pixels."""
        box = label.get_window_extent()
        inside = Bbox.intersection(box, panel)
        outside = box.width * box.height - (inside.width * inside.height if inside else 0.0)
        parts = [part for other in taken if (part := Bbox.intersection(box, other))]
        return 10 * outside + sum((part.width + 1) * (part.height + 1) for part in parts)

    for x, y, look in points:
        tried = [_label(axes, x, y, look, place) for place in PLACES]
        best = min(tried, key=hidden)
        for label in tried:
            if label is not best:
                label.remove()
        taken.append(best.get_window_extent())


def _label(axes: Axes, x: float, y: float, look: Look, offset: tuple[float, float]) -> Annotation:
    """Writes a label so many points right of and above a point; left of it, it ends there."""
    return axes.annotate(
        look.label,
        (x, y),
        xytext=offset,
        textcoords="offset points",
        ha="center" if not offset[0] else "left" if offset[0] > 0 else "right",
        va="center",
        fontsize=8,
        color=look.colour,
        annotation_clip=False,
        bbox={"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.8, "linewidth": 0},
        zorder=4,
    )


def spread(values: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Returns the values moved apart until none overlap, in the same order, about the same centre.

    Args:
        heights: of what is written at each value, in the same unit.
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    moved, heights = [values[place] for place in order], [heights[place] for place in order]
    for _ in range(100):
        for left in range(len(moved) - 1):
            lacking = (heights[left] + heights[left + 1]) / 2 - (moved[left + 1] - moved[left])
            if lacking > 1e-12:
                moved[left] -= lacking / 2
                moved[left + 1] += lacking / 2
    back = dict(zip(order, moved, strict=True))
    return [back[place] for place in range(len(values))]
