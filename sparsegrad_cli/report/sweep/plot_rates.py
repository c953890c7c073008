"""The panel of learning rates against scores."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from ...sweep.schema import FAILED, Sweep, TrialRecord
from ...sweep.space import Range
from ..build import KINDS
from ..scale import scale_of
from .best import paper_best
from .params import value_words
from .plot_marks import (
    ABOVE,
    DARK,
    DOT,
    GREY,
    RED,
    draw_crosses,
    draw_failed,
    draw_ring,
    failed_mark,
    pruned,
    score_axis,
    scored,
)

LISTED = 5  # batch sizes in the legend, at most
COLUMNS = 3  # of the legend
MARGIN = 1.6  # beside the lowest and the highest rate, as a factor
COLOURS = mpl.colormaps["viridis"]


def rates_vary(sweep: Sweep) -> bool:
    """Whether the study searches the learning rate."""
    what = sweep.config.space.parameters.get("learning_rate", ())
    return isinstance(what, Range) or len(what) > 1


def draw_rates(axes: Axes, sweep: Sweep) -> None:
    """Complete and pruned trials, a colour a batch size; the paper's learning rate as a line."""
    trials = [trial for trial in sweep.result.trials if "learning_rate" in trial.params]
    complete, cut = scored(trials), pruned(trials)
    failed = [trial for trial in trials if trial.state in FAILED]
    scale = scale_of(sweep.config.score_name)
    colours = _colours(sweep, [*complete, *cut])
    axes.set_xscale("log")
    if complete:
        y = [scale.times * trial.score for trial in complete]
        of_trials = [colours[_batch_size(sweep, trial)] for trial in complete]
        axes.scatter(_rates(complete), y, s=DOT, c=of_trials, zorder=3)
    best_of_cut = [scale.times * sweep.result.better(trial.evaluations.values()) for trial in cut]
    draw_crosses(axes, _rates(cut), best_of_cut, [colours[_batch_size(sweep, trial)] for trial in cut], "")
    draw_failed(axes, _rates(failed), failed, scale)
    best = sweep.result.best
    if best and best.score is not None and "learning_rate" in best.params:
        draw_ring(axes, _rates([best])[0], scale.times * best.score)
    axes.set_xlabel("learning rate")
    lines = _paper_line(axes, sweep)
    shown = [*_searched(sweep), *_rates(trials), *(line.get_xdata()[0] for line in lines)]
    axes.set_xlim(min(shown) / MARGIN, max(shown) * MARGIN)
    score_axis(axes, sweep, bool(complete or cut))
    marks = [_mark("o", colours[size], f"batch {size}") for size in _some(list(colours))]
    marks += [_mark("x", GREY, "pruned (at best)")] if cut else []
    marks += [_mark(failed_mark(scale), RED, "failed")] if failed else []
    entries = [*marks, *lines]
    by_rows = [entry for column in range(COLUMNS) for entry in entries[column::COLUMNS]]
    if entries:
        axes.legend(handles=by_rows, ncols=COLUMNS, **ABOVE)


def _searched(sweep: Sweep) -> tuple[float, ...]:
    """The ends of a range, or the values of a list."""
    what = sweep.config.space.parameters["learning_rate"]
    return (what.low, what.high) if isinstance(what, Range) else tuple(float(rate) for rate in what)


def _paper_line(axes: Axes, sweep: Sweep) -> list[Line2D]:
    """No line where the paper has nothing."""
    config = sweep.config
    paper = paper_best(KINDS[config.data.completeness], config.model, config.task)
    if paper is None:
        return []
    label = f"paper: {value_words('learning_rate', paper.learning_rate)}"
    return [axes.axvline(paper.learning_rate, color=DARK, linestyle=":", linewidth=1, label=label, zorder=1)]


def _colours(sweep: Sweep, trials: list[TrialRecord]) -> dict[int, str]:
    """A colour for each batch size, in their order."""
    sizes = sorted({_batch_size(sweep, trial) for trial in trials})
    shares = [0.85 * place / max(1, len(sizes) - 1) for place in range(len(sizes))]
    return {size: to_hex(COLOURS(share)) for size, share in zip(sizes, shares, strict=True)}


def _batch_size(sweep: Sweep, trial: TrialRecord) -> int:
    return int(trial.params.get("batch_size", sweep.config.template.batch_size))


def _rates(trials: list[TrialRecord]) -> list[float]:
    return [float(trial.params["learning_rate"]) for trial in trials]


def _some(sizes: list[int]) -> list[int]:
    """All, or so many of them that a legend holds them, the ends among them."""
    if len(sizes) <= LISTED:
        return sizes
    return [sizes[place * (len(sizes) - 1) // (LISTED - 1)] for place in range(LISTED)]


def _mark(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], marker=marker, linestyle="", markersize=5, color=colour, label=label)
