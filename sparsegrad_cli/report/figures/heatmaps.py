"""The paper's Figure 2: an MLP gradient in the original space and in the basis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage

from ...gradients.folder import Gradients
from ..section import Figure
from .spaces import kinds, middle, series, steps, subject
from .style import heading, save

DECADES = 4  # below the largest value, that the colours tell apart


def heatmap_figure(shown: Gradients, arrays: dict[str, np.ndarray], path: Path) -> Figure:
    """Maps of G and G~ and the leading corner of G~, a row a kind: the middle block, the last step."""
    block, step = middle(shown), steps(shown)[-1]

    def fill(canvas: Canvas) -> None:
        rows = canvas.subplots(len(kinds(shown)), 3, squeeze=False)
        for axes, kind in zip(rows, kinds(shown), strict=True):
            _draw_row(canvas, axes, arrays, f"{step}/{block}/{kind}", series(shown, block, kind)[-1].shape)
            axes[0].set_ylabel(f"{kind}\noutput direction")
        for axes, title in zip(rows[0], ("original space: |G|", "new space: |G~|", ""), strict=True):
            axes.set_title(title, fontsize=9)
        corner = arrays[f"{step}/{block}/{kinds(shown)[0]}/corner"].shape
        rows[0][2].set_title(f"its leading {corner[0]} × {corner[1]} entries", fontsize=9)
        for axes in rows[-1]:
            axes.set_xlabel("input direction")
        heading(canvas, f"Gradients of the MLP weights: {subject(shown)}, block {block}, step {step}")

    save(path, 0.5 + 2.1 * len(kinds(shown)), fill)
    return Figure(
        f"magnitudes of the MLP gradients in both spaces: {subject(shown)}, block {block}, step {step}", path
    )


def _draw_row(
    canvas: Canvas, axes: np.ndarray, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, int]
) -> None:
    """Three images on one scale; each cell of the first two is the root mean square of its entries."""
    original, rotated, corner = (arrays[f"{name}/{what}"] for what in ("original", "rotated", "corner"))
    largest = max(original.max(), rotated.max(), corner.max())
    if largest == 0:
        return
    norm = LogNorm(largest / 10**DECADES, largest)
    for place, image, size in zip(
        axes, (original, rotated, corner), (shape, shape, corner.shape), strict=True
    ):
        drawn = _image(place, image, size, norm)
    canvas.colorbar(drawn, ax=axes, pad=0.01, label="magnitude")


def _image(axes: Axes, image: np.ndarray, size: tuple[int, int], norm: LogNorm) -> AxesImage:
    axes.tick_params(labelsize=8)
    extent = (0, size[1], size[0], 0)
    return axes.imshow(
        image.clip(norm.vmin, None),
        norm=norm,
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
    )
