"""A study as a picture: scores as they came, learning rate against score, what the score hangs on."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...store.io import write_atomically
from ...sweep.folder import ReadSweep
from .plot_history import draw_history
from .plot_marks import BLUE
from .plot_rates import draw_rates, rates_vary

WIDTH, HEIGHT = 7.0, 2.9  # of a row of panels, in inches
TITLE = 70  # characters in a line of the title


def save_plot(read: ReadSweep, path: Path) -> None:
    """Draws a study to `path`, a PNG; panels that would show nothing are left out."""
    sweep, importances = read.sweep, read.sweep.result.importances
    below = [*(["rates"] if rates_vary(sweep) else []), *(["importances"] if importances else [])]
    rows = [["history", "history"], *([[below[0], below[-1]]] if below else [])]
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(WIDTH, 0.3 + HEIGHT * len(rows)), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplot_mosaic(rows, width_ratios=[1.7, 1])
        draw_history(panels["history"], sweep)
        if "rates" in panels:
            draw_rates(panels["rates"], sweep)
        if "importances" in panels:
            _draw_importances(panels["importances"], importances)
        title = textwrap.fill(sweep.config.study_name(), TITLE)
        figure.suptitle(title, fontsize=10, fontweight="bold")
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    """The largest on top."""
    ordered = sorted(importances.items(), key=lambda item: item[1])
    names = [name.replace("_", "\n", 1).replace("_", " ") for name, _ in ordered]
    bars = axes.barh(names, [share for _, share in ordered], color=BLUE, height=0.55)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_xlim(0, 1.2 * max(importances.values()))
    axes.margins(y=0.12)
    axes.set_xlabel("importance for the score")
    axes.spines[["top", "right"]].set_visible(False)
