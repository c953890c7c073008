"""What all figures share: the canvas, a colour for each method, panels side by side, labels at the lines."""

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
from PIL import Image

from ...store.io import write_atomically
from ..load import method_colour, method_order

WIDTH, DPI = 7.0, 130  # of every figure, in inches and dots
COLOURS = {"ft": "#444444", "lora": "#c1651a", "meprop": "#7b4fa3", "sparsegrad": "#1f6fb2"}
OTHERS = ("#2a8a5d", "#b0397a", "#8a7a1f", "#3a8fa3")  # of methods that name no colour
DARK, GREY, FAINT = "#222222", "#666666", "#eeeeee"
MARKERS = "osD^vP"
DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1)), (0, (6, 1)))
TINTS = ((0.0, 1.0), (0.45, 1.0), (0.45, 0.0), (0.7, 1.0), (0.25, 0.0), (0.25, 1.0))  # how much of which grey
COLUMNS = 3  # of panels, at most
TITLE = 84  # characters in a line of the title
SHADES = 128  # colours that a PNG keeps


@dataclass(frozen=True)
class Look:
    """How one row of a table is drawn in every figure."""

    label: str
    colour: tuple[float, float, float]
    marker: str
    dashes: Any


def base_colour(method: str) -> str:
    """Returns the colour of a method, the same in every figure."""
    if method in COLOURS:
        return COLOURS[method]
    given = method_colour(method)
    return given or OTHERS[sum(map(ord, method)) % len(OTHERS)]


def looks(rows: Iterable[tuple[str, str]]) -> dict[str, Look]:
    """Returns a look for each (method, label): the method's colour, tinted for its further rows."""
    seen: Counter[str] = Counter()
    found = {}
    for method, label in sorted(dict.fromkeys(rows), key=lambda pair: method_order(pair[0])):
        place = seen[method]
        seen[method] += 1
        share, grey = TINTS[place % len(TINTS)]
        red, green, blue = ((1 - share) * part + share * grey for part in to_rgb(base_colour(method)))
        marker, dashes = MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)]
        found[label] = Look(label, (red, green, blue), marker, dashes)
    return found


def save(path: Path, height: float, draw: Callable[[Canvas], None]) -> Path:
    """Lets `draw` fill a canvas `height` inches high, and writes it to `path`, a PNG of few colours."""
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif"}):
        canvas = Canvas(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(canvas)
        draw(canvas)
        write_png(path, pixels(canvas))
    return path


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


def panel_grid(canvas: Canvas, panels: int, **how: Any) -> list[Axes]:
    """Returns so many panels, in rows of three at most."""
    columns = min(COLUMNS, panels)
    grid = canvas.subplots(ceil(panels / columns), columns, squeeze=False, **how)
    for spare in grid.flat[panels:]:
        spare.remove()
    return list(grid.flat[:panels])


def grid_height(panels: int, of_panel: float = 2.4) -> float:
    """Returns the inches of so many panels with the title above."""
    return 0.5 + of_panel * ceil(panels / COLUMNS)


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
    if axes.get_xscale() == "log":
        axes.set_xlim(low, high * (high / low) ** room)
    else:
        axes.set_xlim(low, high + (high - low) * room)
    bottom, top = axes.get_ylim()
    height = axes.get_window_extent().height or 1.0
    gap = (top - bottom) * 11 * axes.figure.dpi / 72 / height
    places = spread([y for _, y, _ in ends], gap)
    below = max(0.0, bottom + gap / 2 - min(places))  # none is cut by the axis below
    places = [place + below for place in places]
    for (x, y, look), place in zip(ends, places, strict=True):
        axes.annotate(
            look.label,
            (x, y),
            xytext=(6, (place - y) / (top - bottom) * height * 72 / axes.figure.dpi),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=look.colour,
            annotation_clip=False,
        )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Returns the values moved apart until neighbours are `gap` from one another, about the same centre."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    moved = [values[place] for place in order]
    for _ in range(100):
        for left in range(len(moved) - 1):
            lacking = gap - (moved[left + 1] - moved[left])
            if lacking > 1e-12:
                moved[left] -= lacking / 2
                moved[left + 1] += lacking / 2
    back = dict(zip(order, moved, strict=True))
    return [back[place] for place in range(len(values))]
