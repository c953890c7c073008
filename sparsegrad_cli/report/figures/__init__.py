"""The figures of a report, each in a file of its own; one that would show nothing is not made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...gradients.folder import read_gradients
from ..section import Section


def draw_figures(runs: pd.DataFrame, folders: Sequence[Path], into: Path) -> list[Section]:
    """Draws what the runs and the recorded gradients have to show.

    Args:
        runs: finished runs, as `read_runs` has them, each once; may be empty.
        folders: where recordings are looked for: results folders, or single recordings.
        into: where the PNGs go; their names are the same for the same results.

    Returns:
        A section for each group of runs that may be compared, and one for each recording.

    Raises:
        InputError: a file of a run or of a recording is not what it should be.
    """
    from .costs import cost_figures
    from .curves import curve_figures
    from .gradients import gradients_section
    from .groups import split_groups
    from .kept import kept_figures

    sections, seen = [], Counter()
    for group in split_groups(runs):
        name = re.sub(r"[^a-z0-9]+", "-", group.title.lower()).strip("-")
        seen[name] += 1
        if seen[name] > 1:  # the same words, but another checkpoint, device or precision
            name = f"{name}-{seen[name]}"
        makers = (cost_figures, kept_figures, curve_figures)
        figures = [figure for make in makers for figure in make(group, into, name)]
        if figures:
            sections.append(Section(f"Figures: {group.title}", [], group.notes(), group.caption(), figures))
    return sections + [gradients_section(shown, into) for shown in read_gradients(folders)]
