"""Score against the share of entries kept (the paper's tables 11 and 12): a panel a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from ...paper import paper_cells, paper_family
from ..rows import split_rows
from ..section import Figure
from ..table import Spread
from .groups import Group, Panel, looks_of, row_label
from .style import DARK, Look, grid_height, heading, legend_below, panel_grid, plain, save

TABLES = (11, 12)
PAPER = {"color": DARK, "linestyle": (0, (4, 2)), "marker": "x", "linewidth": 0.8, "markersize": 4}
WIDE = 50  # the highest share over the lowest, from which on whole decades are ticks enough
Points = dict[float, Spread]  # share kept -> score as it is shown, over the seeds


@dataclass(frozen=True)
class Lines:
    """What is drawn of one task."""

    panel: Panel
    ours: dict[tuple[str, str], Points]  # (method, label) -> points: they differ in what is kept alone
    paper: dict[float, float]


def kept_figures(group: Group, into: Path, name: str) -> list[Figure]:
    """None where nothing was run with two shares on one task."""
    entries = mlp_entries(group.runs)
    shown = [lines for panel in group.panels if (lines := kept_lines(group, panel, entries)).ours]
    if not shown:
        return []
    path = into / f"{name}-kept.png"
    looks = looks_of(pair for lines in shown for pair in lines.ours)
    what = group.panels[0].scale.what
    _save(path, f"{group.title}: {what} against entries kept", shown, looks)
    return [Figure(f"{what} against the share of entries kept, {group.title}", path)]


def mlp_entries(runs: pd.DataFrame) -> float | None:
    """Entries of all MLP matrices, as far as runs of one model tell: full fine-tuning trains them all."""
    counted = runs[runs["adapted"].notna()]
    all_of_them = counted[counted["method"] == "ft"]["adapted"]
    by_share = counted[counted["density"].notna()]
    found = [*all_of_them, *(by_share["adapted"] / by_share["density"])]
    return found[0] if found else None


def kept_lines(group: Group, panel: Panel, entries: float | None) -> Lines:
    """What is to be drawn of a task.

    Args:
        entries: see `mlp_entries`; without, runs that were told a number of entries are left out.
    """
    runs = pd.concat([row.runs for row in panel.rows.values()])
    runs = runs.assign(share=[_share(run, entries) for run in runs.to_dict("records")])
    chosen = runs[runs["share"].notna()].assign(density=None, kept=None)  # so that they make no rows
    ours = {}
    for row in split_rows(chosen):
        by_share = row.runs.groupby("share")["score"]
        times = panel.scale.times
        points = {float(share): Spread.over(times * scores.astype(float)) for share, scores in by_share}
        if len(points) > 1:
            ours[row.method, row_label(row)] = points
    family = paper_family(group.model) if group.kind == "GLUE" else None
    cells = [c for n in TABLES for c in paper_cells(n) if (c.model, c.column) == (family, panel.column.task)]
    return Lines(panel, ours, {c.kept_percent / 100: c.value for c in cells if c.kept_percent is not None})


def _share(run: dict, entries: float | None) -> float | None:
    """Of the entries of the MLP matrices, those that a step trains; None of methods that choose none."""
    if run["density"] is not None:
        return run["density"]
    if run["kept"] is None or run["adapted"] is None or entries is None:
        return None
    return run["adapted"] / entries


def _save(path: Path, title: str, shown: Sequence[Lines], looks: Mapping[str, Look]) -> None:
    handles = [look.handle() for look in looks.values()]
    if any(lines.paper for lines in shown):
        handles.append(Line2D([], [], **PAPER, label="paper"))

    def fill(canvas: Canvas) -> None:
        for axes, lines in zip(panel_grid(canvas, len(shown)), shown, strict=True):
            plain(axes, lines.panel.title)
            _draw(axes, lines, looks)
            axes.set_xlabel("entries kept at a step")
            axes.set_ylabel(lines.panel.score_axis)
        heading(canvas, title)
        legend_below(canvas, handles)

    save(path, grid_height(len(shown), handles), fill)


def _draw(axes: Axes, lines: Lines, looks: Mapping[str, Look]) -> None:
    axes.set_xscale("log")
    for (_, label), points in lines.ours.items():
        axes.errorbar(
            list(points),
            [spread.mean for spread in points.values()],
            yerr=[spread.std or 0.0 for spread in points.values()],
            color=looks[label].colour,
            marker=looks[label].marker,
            linestyle=looks[label].dashes,
            markersize=5,
            capsize=2,
        )
    if lines.paper:
        axes.plot(*zip(*sorted(lines.paper.items()), strict=True), **PAPER)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < WIDE * low else (1.0,), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axes.minorticks_off()
    axes.margins(x=0.1, y=0.15)
