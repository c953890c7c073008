"""Sweeps as sections."""

from __future__ import annotations

from collections.abc import Sequence

from ...sweep.folder import ReadSweep
from ..section import Figure, Section
from .best import best_parts
from .caption import sweep_caption, sweep_title
from .group import Group, group_studies
from .trials import LEGEND, long_reasons, summary_parts, trial_parts


def sweep_sections(sweeps: Sequence[ReadSweep], trials: bool) -> list[Section]:
    """A section for every table of best parameters.

    Args:
        trials: after each, a section for every study of it that lists the trials.
    """
    sections = []
    for group in group_studies(sweeps):
        sections.append(_group_section(group))
        if trials:
            sections += [_trials_section(study) for study in group.labelled.values()]
    return sections


def _group_section(group: Group) -> Section:
    """The best parameters, and what became of the trials that they are from."""
    notes = [
        f"{label}: no trial has come to its end yet"
        for label, study in group.labelled.items()
        if study.sweep.result.best is None
    ]
    return Section(
        title=sweep_title(group),
        grids=[best_parts(group), summary_parts(group)],
        notes=notes,
        caption=sweep_caption(group),
    )


def _trials_section(study: ReadSweep) -> Section:
    """The trials of one study, with the plot where there is one."""
    figures = [Figure("score of each trial", study.folder / "plot.png")] if study.folder else []
    return Section(
        title=f"trials: {study.sweep.config.study_name()}",
        grids=[trial_parts(study.sweep)],
        notes=long_reasons(study.sweep.result),
        caption=LEGEND,
        figures=[figure for figure in figures if figure.path.is_file()],
    )
