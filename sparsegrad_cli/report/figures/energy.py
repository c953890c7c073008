"""How concentrated the MLP gradients are: the energy that the largest entries hold, in both spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator

from ...gradients.folder import Gradients
from ..section import Figure
from .spaces import (
    BASIS,
    ORIGINAL,
    block_handles,
    blocks,
    kinds,
    space_handles,
    steps,
    subject,
)
from .style import DASHES, GREY, heading, legend_below, plain, save

MARKED = 0.01  # the share that the paper keeps


def energy_figure(shown: Gradients, arrays: dict[str, np.ndarray], path: Path) -> Figure:
    """A panel a kind, at the last step: a line a block and space."""
    step = steps(shown)[-1]

    def fill(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(kinds(shown)), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds(shown), strict=True):
            plain(axes, kind)
            axes.set_xscale("log")
            axes.axvline(MARKED, color=GREY, linewidth=0.8, zorder=1)
            for block, dashes in zip(blocks(shown), DASHES, strict=False):
                share, original, rotated = arrays[f"{step}/{block}/{kind}/curve"]
                for energy, colour in ((original, ORIGINAL), (rotated, BASIS)):
                    axes.plot(share, 100 * energy, color=colour, linestyle=dashes, linewidth=1.2)
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
            axes.set_xlabel("largest entries, share of all")
        panels[0].set_ylabel("energy in them, %")
        heading(canvas, f"Energy of the MLP gradients: {subject(shown)}, step {step}")
        legend_below(canvas, [*space_handles(), *block_handles(shown, coloured=False)])

    save(path, 3.0, fill)
    return Figure(f"energy in the largest entries of the MLP gradients: {subject(shown)}, step {step}", path)
