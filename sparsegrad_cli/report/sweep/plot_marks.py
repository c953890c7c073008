"""What the panels of a study's picture share: marks, colours, the axis of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from ...sweep.schema import FAILED, Sweep, TrialRecord
from ..numbers import metric_words
from .caption import examples

BLUE, GREY, RED, DARK = "#1f6fb2", "#888888", "#c0392b", "#222222"
DOT, CROSS = 26, 22  # sizes of marks
SPAN = 2.0  # of the axis of scores, at least, in points
FLOOR = 0.03  # where failed trials stand, as a share of the panel's height
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
    axes: Axes, x: Sequence[float], scores: Sequence[float], colours: str | list[str], label: str
) -> None:
    """Trials that were pruned."""
    if x:
        y = [100 * score for score in scores]
        axes.scatter(x, y, s=CROSS, marker="x", c=colours, linewidth=1, label=label, zorder=3)


def draw_failed(axes: Axes, x: Sequence[float], trials: Sequence[TrialRecord]) -> None:
    """Trials without a score, at the bottom edge."""
    if x:
        words = ", ".join(state for state in FAILED if any(trial.state == state for trial in trials))
        place = axes.get_xaxis_transform()
        y = [FLOOR] * len(x)
        axes.scatter(x, y, s=DOT, marker="v", color=RED, transform=place, label=words, zorder=3)


def draw_ring(axes: Axes, x: float, score: float) -> None:
    """Round the best trial."""
    axes.scatter(x, 100 * score, s=95, facecolor="none", edgecolor=DARK, linewidth=1.1, zorder=4)


def score_axis(axes: Axes, sweep: Sweep, any_score: bool) -> None:
    """The axis of scores, with room below them for trials that failed."""
    config = sweep.config
    axes.set_ylabel(f"{metric_words(config.score_name)} × 100, {examples(config)}")
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
    if not any_score:
        axes.set_ylim(0, 100)
        box = {"color": "white", "linewidth": 0}
        axes.text(0.5, 0.5, "no score yet", transform=axes.transAxes, ha="center", color=GREY, bbox=box)
        return
    low, high = axes.get_ylim()
    lacking = max(0.0, SPAN - (high - low)) / 2
    low, high = low - lacking, high + lacking
    room = 0.1 if sweep.result.count(*FAILED) else 0.03
    axes.set_ylim(low - room * (high - low), high + 0.03 * (high - low))
