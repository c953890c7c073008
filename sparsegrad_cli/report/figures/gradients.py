"""The section of one recording: the paper's Figures 2 and 3, of our gradients."""

from __future__ import annotations

from pathlib import Path

from ...gradients.folder import Gradients
from ...gradients.schema import THRESHOLDS, read_arrays
from ..caption import short_identity
from ..numbers import percent
from ..read import hardware_words
from ..section import Section
from .energy import energy_figure
from .heatmaps import heatmap_figure
from .nonzeros import nonzero_figure
from .spaces import blocks, kinds, middle, series, steps, subject
from .strides import stride_figure


def gradients_section(shown: Gradients, into: Path) -> Section:
    """Draws a recording into `into`."""
    arrays = read_arrays(shown.folder)
    name = f"gradients-{shown.result.id}"
    figures = [
        heatmap_figure(shown, arrays, into / f"{name}-spaces.png"),
        energy_figure(shown, arrays, into / f"{name}-energy.png"),
        stride_figure(shown, arrays, into / f"{name}-rows.png"),
        nonzero_figure(shown, into / f"{name}-nonzeros.png"),
    ]
    return Section(
        title=f"Gradients: {subject(shown)}",
        grids=[],
        notes=[*_concentration(shown), _rows(shown)],
        caption=_caption(shown),
        figures=[figure for figure in figures if figure],
    )


def _concentration(shown: Gradients) -> list[str]:
    """The share of energy in the top 1%, of the gradients that the heat maps show and of the first ones."""
    block, first, last = middle(shown), steps(shown)[0], steps(shown)[-1]
    told = []
    for kind in kinds(shown):
        places = series(shown, block, kind)
        at = [
            f"{percent(place.energy_original)} of the energy in the original space and "
            f"{percent(place.energy_rotated)} in the new one at step {place.step}"
            for place in (places[0], places[-1])[: 1 if first == last else 2]
        ]
        told.append(f"Block {block}, {kind}: the largest 1% of the entries hold {', '.join(at)}.")
    return told


def _rows(shown: Gradients) -> str:
    """Which rows of dL/dY are exactly zero at the first step."""
    kind = kinds(shown)[0]
    told = []
    for block in blocks(shown):
        place = series(shown, block, kind)[0]
        small = place.live_rows[0] - place.live_rows[1]
        told.append(
            f"{place.rows - place.live_rows[0]} in block {block}" + (f" ({small} more tiny)" if small else "")
        )
    return (
        f"Rows of dL/dY that are exactly zero at step {place.step}, of {place.rows} in the batch "
        f"({place.padding} of them padding), {kind}: {', '.join(told)}."
    )


def _caption(shown: Gradients) -> dict[str, str]:
    config, run, environment = shown.config, shown.config.run, shown.environment
    thresholds = ", ".join(f"{threshold:g}" for threshold in THRESHOLDS[1:])
    return {
        "training": f"{run.max_steps} steps, learning rate {run.learning_rate:g}, batch {run.batch_size}, "
        f"{run.length} tokens at most, seed {run.seed}, dropout on; recorded every {config.every} steps",
        "basis": f"from {config.calibration_steps} batches of the untrained model",
        "spaces": "G = dL/dW of one batch, G~ = V^T G U; a cell of a map is the root mean square of entries",
        "thresholds": f"not zero: above 0; not small: above {thresholds} of the largest of the matrix",
        "checkpoint": f"{run.model}, {short_identity(environment.checkpoint)}",
        "ran on": f"{run.device}, {run.precision} ({hardware_words(environment)})",
    }
