"""A recording of gradients as a section: the paper's Figures 2 (both spaces) and 3 (what is not zero)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...gradients.schema import THRESHOLDS, Gradients, Place, read_arrays
from ..caption import gradients_caption
from ..table import Figure, Section, listed, percent, short_model
from .style import DARK, DASHES, GREY, heading, plain, save

ORIGINAL, BASIS = "#c1651a", "#1f6fb2"
SPACES = {"original space, G": ORIGINAL, "new space, G~": BASIS}
BLOCKS = ("#440154", "#21918c", "#b5a000")  # first, middle, last
MARKED = 0.01  # the share that the paper keeps
DECADES = 4  # of magnitudes below the largest, that the colours of maps tell apart
ROW_DECADES = 3  # the same of norms of rows
ZERO, PADDING = "#ffffff", "#cfcfcf"
BINS = [float(edge) for edge in range(0, 101, 5)]  # percent
LARGE = len(THRESHOLDS) - 1  # the highest threshold
Arrays = dict[str, np.ndarray]


def gradients_section(shown: Gradients, figures: Sequence[Figure]) -> Section:
    """Returns the section of a recording."""
    block = _middle(shown)
    words = []
    for kind in _kinds(shown):
        places = _series(shown, block, kind)
        at = [
            f"{percent(place.energy_original)} in the original space and {percent(place.energy_rotated)} "
            f"in the new one at step {place.step}"
            for place in dict.fromkeys((places[0], places[-1]))
        ]
        words.append(f"{kind} {listed(at)}")
    return Section(
        title=f"Gradients: {_subject(shown)}",
        sentence=f"Share of the energy that the largest 1% of a gradient's entries hold, in block {block}: "
        f"{'; '.join(words)}.",
        notes=zero_rows(shown),
        caption=gradients_caption(shown),
        figures=figures,
    )


def zero_rows(shown: Gradients) -> list[str]:
    """Returns how many rows of dL/dY are zero at the first step, how many of them are padding, and what a
    product that leaves zero rows out can gain.
    """
    kind, words, zeros, left = _kinds(shown)[0], [], [], []
    for block in _blocks(shown):
        place = _series(shown, block, kind)[0]
        zero = place.rows - place.live_rows[0]
        zeros.append(zero)
        left.append(max(0, zero - place.padding))  # rows of tokens
        of_padding = f" ({_share(zero - left[-1], zero)} of them padding)" if zero else ""
        words.append(f"block {block} {percent(zero / place.rows)} of {place.rows:,}{of_padding}")
    lines = [f"Rows of dL/dY that are exactly zero at step {place.step}, {kind}: {', '.join(words)}."]
    product = "the paper's sparse-by-dense product, which leaves zero rows out, can gain"
    if padding := sum(zeros[:-1]) - sum(left[:-1]):
        lines.append(
            f"Up to the last block {_share(padding, sum(zeros[:-1]))} of what {product} here is padding, the "
            "primary cause that SEBP (2026.eacl-srw.31) names too; not to compute padding gains it for every "
            "method."
        )
    elif not any(zeros[:-1]):
        lines.append(f"Up to the last block {product} nothing here: no padding is computed.")
    if left[-1]:
        lines.append(
            f"In the last block {left[-1]} rows of tokens are zero: the loss does not depend on them."
        )
    return lines


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else percent(part / whole)


def gradient_figures(shown: Gradients, folder: Path) -> list[Figure]:
    """Draws a recording into `folder`."""
    arrays = read_arrays(shown.folder)
    name = folder / f"gradients-{shown.result.id}"
    figures = [_maps(shown, arrays, name), _energy(shown, arrays, name), _rows(shown, arrays, name)]
    return [*figures, _nonzeros(shown, name)] if len(_steps(shown)) > 1 else figures


def _subject(shown: Gradients) -> str:
    run = shown.config.run
    return f"{short_model(run.model)} on {run.task}, {run.method}"


def _kinds(shown: Gradients) -> list[str]:
    """The two kinds of MLP linear, the wider output first: as data passes through a block."""
    shapes = {place.kind: place.shape for place in shown.result.places}
    return sorted(shapes, key=lambda kind: -shapes[kind][0])


def _blocks(shown: Gradients) -> list[int]:
    """The first, middle and last block; fewer of a model that has fewer."""
    return sorted({place.block for place in shown.result.places})


def _middle(shown: Gradients) -> int:
    """The block that is shown where there is room for one."""
    found = _blocks(shown)
    return found[len(found) // 2]


def _steps(shown: Gradients) -> list[int]:
    return sorted(shown.result.losses)


def _series(shown: Gradients, block: int, kind: str) -> list[Place]:
    """The records of one linear, step by step."""
    found = [place for place in shown.result.places if (place.block, place.kind) == (block, kind)]
    return sorted(found, key=lambda place: place.step)


def _saved(name: Path, what: str, words: str, height: float, fill: Callable[[Canvas], None]) -> Figure:
    path = name.with_name(f"{name.name}-{what}.png")
    save(path, height, fill)
    return Figure(words, path)


def _maps(shown: Gradients, arrays: Arrays, name: Path) -> Figure:
    """Maps of G and G~ and the leading corner of G~, a row a kind: the middle block, the last step."""
    block, step, kinds = _middle(shown), _steps(shown)[-1], _kinds(shown)

    def fill(canvas: Canvas) -> None:
        rows = canvas.subplots(len(kinds), 3, squeeze=False)
        for axes, kind in zip(rows, kinds, strict=True):
            shape = _series(shown, block, kind)[-1].shape
            images = [arrays[f"{step}/{block}/{kind}/{what}"] for what in ("original", "rotated", "corner")]
            largest = max(image.max() for image in images)
            axes[0].set_ylabel(f"{kind}\noutput direction")
            if largest == 0:
                continue
            norm = LogNorm(largest / 10**DECADES, largest)
            for place, image, size in zip(axes, images, (shape, shape, images[2].shape), strict=True):
                drawn = _image(place, image, size, norm)
            canvas.colorbar(drawn, ax=axes, pad=0.01, label="magnitude")
        size = arrays[f"{step}/{block}/{kinds[0]}/corner"].shape
        titles = ("original space: |G|", "new space: |G~|", f"its leading {size[0]} × {size[1]} entries")
        for axes, title in zip(rows[0], titles, strict=True):
            axes.set_title(title, fontsize=9)
        for axes in rows[-1]:
            axes.set_xlabel("input direction")
        heading(canvas, f"Gradients of the MLP weights: {_subject(shown)}, block {block}, step {step}")

    words = f"Magnitudes of the MLP gradients in both spaces, block {block}, step {step}"
    return _saved(name, "spaces", words, 0.5 + 2.1 * len(kinds), fill)


def _image(axes: Axes, image: np.ndarray, size: tuple[int, ...], norm: LogNorm) -> AxesImage:
    axes.tick_params(labelsize=8)
    return axes.imshow(
        image.clip(float(norm.vmin or 0.0), None),
        norm=norm,
        extent=(0, size[1], size[0], 0),
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
    )


def _energy(shown: Gradients, arrays: Arrays, name: Path) -> Figure:
    """The energy in the largest entries, at the last step: a panel a kind, a line a block and space."""
    step, kinds = _steps(shown)[-1], _kinds(shown)

    def fill(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            plain(axes, kind)
            axes.set_xscale("log")
            axes.axvline(MARKED, color=GREY, linewidth=0.8, zorder=1)
            for block, dashes in zip(_blocks(shown), DASHES, strict=False):
                share, original, rotated = arrays[f"{step}/{block}/{kind}/curve"]
                for energy, colour in ((original, ORIGINAL), (rotated, BASIS)):
                    axes.plot(share, 100 * energy, color=colour, linestyle=dashes, linewidth=1.2)
            axes.set_xticks([1e-4, 1e-2, 1.0])
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
            axes.set_xlabel("largest entries, share of all")
        panels[0].set_ylabel("energy in them, %")
        heading(canvas, f"Energy of the MLP gradients: {_subject(shown)}, step {step}")
        _legend(canvas, [*_space_handles(), *_block_handles(shown, coloured=False)])

    words = f"Energy in the largest entries of the MLP gradients, step {step}; the line: 1%"
    return _saved(name, "energy", words, 3.0, fill)


def _rows(shown: Gradients, arrays: Arrays, name: Path) -> Figure:
    """Norms of the rows of dL/dY at the first step, examples x tokens: a panel a block and kind."""
    step, blocks, kinds = _steps(shown)[0], _blocks(shown), _kinds(shown)
    tokens = arrays[f"{step}/tokens"]

    def fill(canvas: Canvas) -> None:
        rows = canvas.subplots(len(blocks), len(kinds), squeeze=False, sharex=True, sharey=True)
        for of_block, block in zip(rows, blocks, strict=True):
            for axes, kind in zip(of_block, kinds, strict=True):
                image = _row_map(axes, arrays[f"{step}/{block}/{kind}/rows"], tokens)
                axes.set_title(f"block {block}, {kind}", fontsize=9)
            of_block[0].set_ylabel("example")
        for axes in rows[-1]:
            axes.set_xlabel("token")
        words = "norm over the largest of the panel"
        bar = canvas.colorbar(image, ax=rows, pad=0.01, shrink=0.8, label=words)
        powers = range(-ROW_DECADES, 1)
        bar.set_ticks(list(powers), labels=[f"$10^{{{power}}}$" for power in powers])
        heading(canvas, f"Rows of dL/dY: {_subject(shown)}, step {step}")
        how: dict[str, Any] = {"edgecolor": "#888888", "linewidth": 0.6}
        marks = {"exactly zero": ZERO, "padding (zero too)": PADDING}
        _legend(canvas, [Patch(facecolor=colour, label=words, **how) for words, colour in marks.items()])

    words = f"Norms of the rows of dL/dY in a batch, step {step}"
    return _saved(name, "rows", words, 0.9 + 1.45 * len(blocks), fill)


def _row_map(axes: Axes, norms: np.ndarray, tokens: np.ndarray) -> AxesImage:
    """Logarithms; padding is left to the colour of no value, zero to that below the scale."""
    largest = norms.max() or 1.0
    with np.errstate(divide="ignore"):
        powers = np.log10(norms / largest)
    image = np.where(norms > 0, powers.clip(-ROW_DECADES, None), -ROW_DECADES - 1)
    image = np.where((tokens == 0) & (norms == 0), np.nan, image)
    colours = mpl.colormaps["viridis"].with_extremes(bad=PADDING, under=ZERO)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.tick_params(labelsize=8)
    how: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "cmap": colours}
    return axes.imshow(image, vmin=-ROW_DECADES, vmax=0, **how)


def _nonzeros(shown: Gradients, name: Path) -> Figure:
    """Entries of dL/dY that are not zero by step, with their histogram, and of G and G~: a row a kind."""
    kinds = _kinds(shown)

    def fill(canvas: Canvas) -> None:
        rows = canvas.subplots(len(kinds), 3, width_ratios=(1.5, 0.6, 1.5), squeeze=False)
        for (by_step, histogram, weights), kind in zip(rows, kinds, strict=True):
            _draw_outputs(by_step, histogram, shown, kind)
            _draw_weights(weights, shown, kind)
        for axes in rows[-1][[0, 2]]:
            axes.set_xlabel("training step")
        rows[-1][1].set_xlabel("recorded steps")
        heading(canvas, f"Entries that are not zero: {_subject(shown)}")
        tokens = Line2D([], [], color=GREY, linewidth=0.8, label="rows that are not padding")
        _legend(canvas, [*_block_handles(shown), tokens, *_space_handles()])

    words = "Entries of dL/dY, G and G~ that are not zero, through training"
    return _saved(name, "nonzeros", words, 1.0 + 1.9 * len(kinds), fill)


def _draw_outputs(axes: Axes, histogram: Axes, shown: Gradients, kind: str) -> None:
    """Lines of the blocks and, beside them, how often each value was seen."""
    plain(axes, f"dL/dY, {kind}")
    plain(histogram)
    values = []
    for block, colour, dashes in zip(_blocks(shown), BLOCKS, DASHES, strict=False):
        places = _series(shown, block, kind)
        values.append([100 * place.output.shares[0] for place in places])
        axes.plot([place.step for place in places], values[-1], color=colour, linestyle=dashes)
    tokens = [100 * (1 - place.padding / place.rows) for place in places]
    axes.plot([place.step for place in places], tokens, color=GREY, linewidth=0.8, zorder=1)
    how: dict[str, Any] = {"orientation": "horizontal", "stacked": True, "color": BLOCKS[: len(values)]}
    histogram.hist(values, BINS, **how)
    for panel in (axes, histogram):
        panel.set_ylim(0, 100)
    histogram.set_yticklabels([])
    axes.set_ylabel("entries above 0, %")


def _draw_weights(axes: Axes, shown: Gradients, kind: str) -> None:
    plain(axes, f"G and G~, {kind}")
    for block, dashes in zip(_blocks(shown), DASHES, strict=False):
        places = _series(shown, block, kind)
        for what, colour in (("weight", ORIGINAL), ("weight_rotated", BASIS)):
            shares = [100 * getattr(place, what).shares[LARGE] for place in places]
            axes.plot([place.step for place in places], shares, color=colour, linestyle=dashes, linewidth=1.2)
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"above {THRESHOLDS[LARGE]:.0%} of max, %")


def _legend(canvas: Canvas, handles: list[Artist]) -> None:
    columns = min(4, len(handles))
    canvas.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _block_handles(shown: Gradients, coloured: bool = True) -> list[Artist]:
    colours = BLOCKS if coloured else (DARK,) * len(BLOCKS)
    pairs = zip(_blocks(shown), colours, DASHES, strict=False)
    return [Line2D([], [], label=f"block {b}", color=colour, linestyle=dashes) for b, colour, dashes in pairs]


def _space_handles() -> list[Artist]:
    return [Line2D([], [], color=colour, label=words) for words, colour in SPACES.items()]
