"""What the panels of a study's picture share: marks, colours, the axis of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ...sweep.schema import FAILED, Sweep, TrialRecord
from ..numbers import metric_words
from ..scale import Scale, scale_of
from .caption import examples

BLUE, GREY, RED, DARK = "#1f6fb2", "#888888", "#c0392b", "#222222"
DOT, CROSS = 26, 22  # sizes of marks
SPAN = 20  # of the axis of scores, at least, in units of the last digit that is shown
FLOOR = 0.03  # of the panel's height, between its edge and failed trials
WIDE = 3.0  # the highest loss over the lowest, from which their axis is logarithmic
ABOVE = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1.01),
    "borderaxespad": 0.0,
    "frameon": False,
    "fontsize": 8,
    "handletextpad": 0.4,
    "columnspacing": 1.0,
}


def scored(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that completed."""
    return [trial for trial in trials if trial.state == "complete" and trial.score is not None]


def pruned(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that were pruned after an evaluation."""
    return [trial for trial in trials if trial.state == "pruned" and trial.evaluations]


def draw_crosses(
    axes: Axes, x: Sequence[float], y: Sequence[float], colours: str | list[str], label: str
) -> None:
    """Trials that were pruned."""
    if x:
        axes.scatter(x, y, s=CROSS, marker="x", c=colours, linewidth=1, label=label, zorder=3)


def failed_mark(scale: Scale) -> str:
    """Points to the end of the axis where the worst scores are."""
    return "^" if scale.less_is_better else "v"


def draw_failed(axes: Axes, x: Sequence[float], trials: Sequence[TrialRecord], scale: Scale) -> None:
    """Trials without a score, at the edge where the worst scores are."""
    if x:
        words = ", ".join(state for state in FAILED if any(trial.state == state for trial in trials))
        place = axes.get_xaxis_transform()
        y = [1 - FLOOR if scale.less_is_better else FLOOR] * len(x)
        mark = failed_mark(scale)
        axes.scatter(x, y, s=DOT, marker=mark, color=RED, transform=place, label=words, zorder=3)


def draw_ring(axes: Axes, x: float, y: float) -> None:
    """Round the best trial."""
    axes.scatter(x, y, s=95, facecolor="none", edgecolor=DARK, linewidth=1.1, zorder=4)


def score_axis(axes: Axes, sweep: Sweep, any_score: bool) -> None:
    """The axis of scores, with room beside the worst of them for trials that failed."""
    config, scale = sweep.config, scale_of(sweep.config.score_name)
    axes.set_ylabel(f"{metric_words(config.score_name)}{scale.axis}, {examples(config)}")
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
    if not any_score:
        axes.set_ylim(0, scale.times)
        box = {"color": "white", "linewidth": 0}
        axes.text(0.5, 0.5, "no score yet", transform=axes.transAxes, ha="center", color=GREY, bbox=box)
        return
    room = 0.1 if sweep.result.count(*FAILED) else 0.03
    lowest, highest = axes.dataLim.intervaly
    if scale.less_is_better and highest > WIDE * lowest > 0:
        _stretch(axes, room)
        return
    low, high = axes.get_ylim()
    lacking = max(0.0, SPAN / 10**scale.digits - (high - low)) / 2
    low, high = low - lacking, high + lacking
    below, above = (0.03, room) if scale.less_is_better else (room, 0.03)
    axes.set_ylim(low - below * (high - low), high + above * (high - low))


def _stretch(axes: Axes, room: float) -> None:
    """For losses many times the lowest, as at too high a rate: beside them the others would lie in a line."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=room)
