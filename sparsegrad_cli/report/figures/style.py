"""What all figures share: the canvas, the looks of rows, panels side by side."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from ...store.io import write_atomically
from ..bench.plot import COLOURS, OTHER

WIDTH = 7.0  # of every figure, in inches
DARK, GREY, FAINT = "#222222", "#666666", "#eeeeee"
MARKERS = "osD^vPX*"
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
TINTS = ((0.0, 1.0), (0.45, 1.0), (0.45, 0.0), (0.7, 1.0))  # of a method's rows: how much of which grey
COLUMNS = 3  # of panels, at most
CHARACTERS = 125  # of a line of the legend
TITLE = 84  # of a line of the title


@dataclass(frozen=True)
class Look:
    """How one row of a table is drawn in every figure."""

    label: str
    colour: tuple[float, float, float]
    marker: str
    dashes: str | tuple

    def handle(self, marker: bool = True, line: bool = True) -> Line2D:
        """What stands for it in a legend."""
        return Line2D(
            [],
            [],
            color=self.colour,
            marker=self.marker if marker else "",
            linestyle=self.dashes if line else "",
            label=self.label,
            markersize=5,
        )


def looks(rows: Sequence[tuple[str, str]]) -> list[Look]:
    """One for each (method, label): a colour a method, tinted for its further rows, with other marks."""
    seen: Counter[str] = Counter()
    found = []
    for method, label in rows:
        place = seen[method]
        seen[method] += 1
        share, grey = TINTS[place % len(TINTS)]
        colour = tuple((1 - share) * part + share * grey for part in to_rgb(COLOURS.get(method, OTHER)))
        found.append(Look(label, colour, MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)]))
    return found


def save(path: Path, height: float, draw: Callable[[Canvas], None]) -> Path:
    """Lets `draw` fill a canvas `height` inches high, and writes it to `path`, a PNG."""
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif"}):
        canvas = Canvas(figsize=(WIDTH, height), dpi=160, layout="constrained")
        FigureCanvasAgg(canvas)
        draw(canvas)
        write_atomically(path, lambda temporary: canvas.savefig(temporary, format="png"))
    return path


def grid_height(panels: int, handles: Sequence[Artist]) -> float:
    """Inches for so many panels, with the title above and the legend below."""
    lines = ceil(len(handles) / _legend_columns(handles))
    return 0.5 + 2.3 * ceil(panels / COLUMNS) + 0.18 * lines


def panel_grid(canvas: Canvas, panels: int) -> list[Axes]:
    """So many panels, in rows of three at most."""
    columns = min(COLUMNS, panels)
    grid = canvas.subplots(ceil(panels / columns), columns, squeeze=False)
    for spare in grid.flat[panels:]:
        spare.remove()
    return list(grid.flat[:panels])


def plain(axes: Axes, title: str = "") -> None:
    """Two spines, a faint grid, a small title."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=9)


def heading(canvas: Canvas, words: str) -> None:
    canvas.suptitle(textwrap.fill(words, TITLE), fontsize=10, fontweight="bold")


def legend_below(canvas: Canvas, handles: Sequence[Artist]) -> None:
    """Outside of the panels."""
    columns = _legend_columns(handles)
    canvas.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _legend_columns(handles: Sequence[Artist]) -> int:
    """As many as the longest label leaves room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    return max(1, min(len(handles), CHARACTERS // (longest + 8)))
