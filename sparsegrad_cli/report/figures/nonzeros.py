"""The paper's Figure 3, right: how many entries are not zero through training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from ...gradients.folder import Gradients
from ...gradients.schema import THRESHOLDS
from ..section import Figure
from .spaces import (
    BASIS,
    BLOCKS,
    ORIGINAL,
    block_handles,
    blocks,
    kinds,
    series,
    space_handles,
    steps,
    subject,
)
from .style import DASHES, GREY, heading, legend_below, plain, save

BINS = np.linspace(0, 100, 21)  # percent
LARGE = len(THRESHOLDS) - 1  # the highest threshold


def nonzero_figure(shown: Gradients, path: Path) -> Figure | None:
    """Of dL/dY by step with its histogram, and of G and G~, a row a kind; None of a single step."""
    if len(steps(shown)) < 2:
        return None

    def fill(canvas: Canvas) -> None:
        rows = canvas.subplots(len(kinds(shown)), 3, width_ratios=(1.5, 0.6, 1.5), squeeze=False)
        for (by_step, histogram, weights), kind in zip(rows, kinds(shown), strict=True):
            _draw_outputs(by_step, histogram, shown, kind)
            _draw_weights(weights, shown, kind)
        for axes in rows[-1][[0, 2]]:
            axes.set_xlabel("training step")
        rows[-1][1].set_xlabel("recorded steps")
        heading(canvas, f"Entries that are not zero: {subject(shown)}")
        tokens = Line2D([], [], color=GREY, linewidth=0.8, label="rows that are not padding")
        legend_below(canvas, [*block_handles(shown), tokens, *space_handles()])

    save(path, 1.0 + 1.9 * len(kinds(shown)), fill)
    return Figure(f"entries of dL/dY, G and G~ that are not zero, through training: {subject(shown)}", path)


def _draw_outputs(axes: Axes, histogram: Axes, shown: Gradients, kind: str) -> None:
    """Lines of the blocks and, beside them, how often each value was seen."""
    plain(axes, f"dL/dY, {kind}")
    plain(histogram)
    values = []
    for block, colour, dashes in zip(blocks(shown), BLOCKS, DASHES, strict=False):
        places = series(shown, block, kind)
        values.append([100 * place.output.shares[0] for place in places])
        axes.plot([place.step for place in places], values[-1], color=colour, linestyle=dashes)
    tokens = [100 * (1 - place.padding / place.rows) for place in places]
    axes.plot([place.step for place in places], tokens, color=GREY, linewidth=0.8, zorder=1)
    colours = BLOCKS[: len(values)]
    histogram.hist(values, BINS, orientation="horizontal", stacked=True, color=colours)
    for panel in (axes, histogram):
        panel.set_ylim(0, 100)
    histogram.set_yticklabels([])
    axes.set_ylabel("entries above 0, %")


def _draw_weights(axes: Axes, shown: Gradients, kind: str) -> None:
    plain(axes, f"G and G~, {kind}")
    for block, dashes in zip(blocks(shown), DASHES, strict=False):
        places = series(shown, block, kind)
        for what, colour in (("weight", ORIGINAL), ("weight_rotated", BASIS)):
            shares = [100 * getattr(place, what).shares[LARGE] for place in places]
            axes.plot([place.step for place in places], shares, color=colour, linestyle=dashes, linewidth=1.2)
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"above {THRESHOLDS[LARGE]:.0%} of max, %")
