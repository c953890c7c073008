"""The panel of scores in the order in which trials ended."""

from __future__ import annotations

from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...sweep.schema import FAILED, Sweep, TrialRecord
from ..scale import scale_of
from .plot_marks import (
    ABOVE,
    BLUE,
    DOT,
    GREY,
    draw_crosses,
    draw_failed,
    draw_ring,
    pruned,
    score_axis,
    scored,
)


def draw_history(axes: Axes, sweep: Sweep) -> None:
    """Complete trials with the best so far, pruned ones at their last evaluation, failed ones at the edge."""
    ended, scale = _by_end(sweep), scale_of(sweep.config.score_name)
    place = {trial.slot: number for number, trial in enumerate(ended, 1)}
    complete, cut = scored(ended), pruned(ended)
    failed = [trial for trial in ended if trial.state in FAILED]
    if complete:
        x, y = [place[trial.slot] for trial in complete], [scale.times * trial.score for trial in complete]
        best = list(accumulate(y, min if scale.less_is_better else max))
        label = f"best so far: {best[-1]:.{scale.digits}f}"
        axes.step([*x, len(ended)], [*best, best[-1]], where="post", color=BLUE, linewidth=1, label=label)
        axes.scatter(x, y, s=DOT, color=BLUE, label="complete", zorder=3)
    last = [scale.times * trial.evaluations[max(trial.evaluations)] for trial in cut]
    draw_crosses(axes, [place[trial.slot] for trial in cut], last, GREY, "pruned (last evaluation)")
    draw_failed(axes, [place[trial.slot] for trial in failed], failed, scale)
    if (best_trial := sweep.result.best) and best_trial.score is not None:
        draw_ring(axes, place[best_trial.slot], scale.times * best_trial.score)
    margin = max(0.5, 0.02 * len(ended))
    axes.set_xlim(1 - min(margin, 0.9), max(len(ended), 1) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trials, in the order in which they ended")
    score_axis(axes, sweep, bool(complete or cut))
    if ended:
        axes.legend(ncols=4, **ABOVE)


def _by_end(sweep: Sweep) -> list[TrialRecord]:
    """Trials that have ended, in order; by their slots where it is not known when."""
    ended = [trial for trial in sweep.result.trials if trial.state not in ("waiting", "running")]
    if any(trial.ended is None for trial in ended):
        return ended
    return sorted(ended, key=lambda trial: (trial.ended, trial.slot))
