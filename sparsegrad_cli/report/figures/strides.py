"""The paper's Figure 3, left: which rows of dL/dY are zero, and how large the others are."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ...gradients.folder import Gradients
from ..section import Figure
from .spaces import blocks, kinds, steps, subject
from .style import heading, legend_below, save

DECADES = 3  # below the largest norm, that the colours tell apart
ZERO, PADDING = "#ffffff", "#cfcfcf"


def stride_figure(shown: Gradients, arrays: dict[str, np.ndarray], path: Path) -> Figure:
    """A panel a block and kind at the first step: examples x tokens, a cell a row of dL/dY."""
    step = steps(shown)[0]
    tokens = arrays[f"{step}/tokens"]

    def fill(canvas: Canvas) -> None:
        rows = canvas.subplots(len(blocks(shown)), len(kinds(shown)), squeeze=False, sharex=True, sharey=True)
        for of_block, block in zip(rows, blocks(shown), strict=True):
            for axes, kind in zip(of_block, kinds(shown), strict=True):
                image = _draw(axes, arrays[f"{step}/{block}/{kind}/rows"], tokens)
                axes.set_title(f"block {block}, {kind}", fontsize=9)
            of_block[0].set_ylabel("example")
        for axes in rows[-1]:
            axes.set_xlabel("token")
        bar = canvas.colorbar(
            image, ax=rows, pad=0.01, shrink=0.8, label="norm over the largest of the panel"
        )
        bar.set_ticks(range(-DECADES, 1), labels=[f"$10^{{{power}}}$" for power in range(-DECADES, 1)])
        heading(canvas, f"Rows of dL/dY: {subject(shown)}, step {step}")
        marks = {"exactly zero": ZERO, "padding (zero too)": PADDING}
        patches = [Patch(facecolor=c, edgecolor="#888888", linewidth=0.6, label=w) for w, c in marks.items()]
        legend_below(canvas, patches)

    save(path, 0.9 + 1.45 * len(blocks(shown)), fill)
    return Figure(f"norms of the rows of dL/dY, a batch: {subject(shown)}, step {step}", path)


def _draw(axes: Axes, norms: np.ndarray, tokens: np.ndarray) -> AxesImage:
    """Logarithms; what is padding is left to the colour of no value, zero to that below the scale."""
    largest = norms.max() or 1.0
    with np.errstate(divide="ignore"):
        powers = np.log10(norms / largest)
    image = np.where(norms > 0, powers.clip(-DECADES, None), -DECADES - 1)
    image = np.where((tokens == 0) & (norms == 0), np.nan, image)
    colours = mpl.colormaps["viridis"].with_extremes(bad=PADDING, under=ZERO)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.tick_params(labelsize=8)
    return axes.imshow(image, vmin=-DECADES, vmax=0, aspect="auto", interpolation="nearest", cmap=colours)
