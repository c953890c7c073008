"""Plots that commands leave in a result's own folder: of a benchmark, and Optuna's own of a study."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas

from ...bench.config import Bench, BenchConfig, BenchResult
from ..bench_tables import PADDINGS, bench_title
from ..caption import bench_machine
from .style import DPI, GREY, WIDTH, heading, looks, mark_points, pixels, plain, save, write_png

if TYPE_CHECKING:
    from optuna import Study

BASES = {"ft": (0, (6, 3)), "lora": (0, (1, 2))}  # rows to compare with, drawn as lines through the plot


def save_bench_plot(bench: Bench, path: Path) -> None:
    """Draws steps per second against peak memory, a point a row, to `path`, a PNG."""
    config, result = bench.config, bench.result
    assert isinstance(config, BenchConfig)
    assert isinstance(result, BenchResult)
    done = [row for row in result.rows if row.status == "done"]
    paddings = {row.padding for row in done}
    labels = [row.name if len(paddings) == 1 else f"{row.name}, {PADDINGS[row.padding]}" for row in done]
    points = [
        (row, label, row.peak_memory_bytes / 1e6, row.steps_per_second)
        for row, label in zip(done, labels, strict=True)
        if row.peak_memory_bytes and row.steps_per_second
    ]
    look = looks((row.method, label) for row, label, _, _ in points)

    def fill(canvas: Canvas) -> None:
        axes = canvas.subplots()
        plain(axes, bench_machine(bench))
        for row, label, x, y in points:
            if row.method in BASES:
                for line, at in ((axes.axhline, y), (axes.axvline, x)):
                    line(at, color=look[label].colour, linestyle=BASES[row.method], linewidth=0.8, zorder=1)
        axes.update_datalim([(x, y) for _, _, x, y in points])
        axes.margins(x=0.28, y=0.16)
        axes.set_ylim(max(0, axes.get_ylim()[0]), axes.get_ylim()[1])
        axes.set_xlabel("peak memory of a step, MB (10⁶ bytes)  ← less is better", color=GREY)
        axes.set_ylabel("steps per second  → more is better", color=GREY)
        heading(canvas, bench_title(config))
        canvas.draw_without_rendering()
        mark_points(axes, [(x, y, look[label]) for _, label, x, y in points])

    save(path, 4.6, fill)


def save_sweep_plot(study: Study, by_importance: bool, path: Path) -> None:
    """Draws a study with Optuna's own plots, one below the other, to `path`, a PNG.

    They are the history, the score against each parameter and, `by_importance`, how much hangs on each.
    """
    import optuna
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    drawn: list[Any] = [plots.plot_optimization_history]
    if complete and any(len({str(t.params.get(name)) for t in complete}) > 1 for name in complete[0].params):
        drawn.append(plots.plot_slice)
        if by_importance:
            drawn.append(plots.plot_param_importances)
    images = []
    with warnings.catch_warnings(), mpl.rc_context({"font.size": 9}):
        warnings.simplefilter("ignore")  # Optuna calls these plots experimental
        for plot in drawn:
            axes = plot(study)
            canvas = np.ravel(axes)[0].figure
            canvas.set_size_inches(WIDTH, 3.0)
            canvas.set_dpi(DPI)
            # Optuna's colour bar beside a single plot has no room of its own in a constrained layout
            canvas.set_layout_engine("constrained" if np.size(axes) > 1 else "tight")
            images.append(pixels(canvas))
            pyplot.close(canvas)
    width = max(image.shape[1] for image in images)
    padded = [np.pad(i, ((0, 0), (0, width - i.shape[1]), (0, 0)), constant_values=255) for i in images]
    write_png(path, np.concatenate(padded))
