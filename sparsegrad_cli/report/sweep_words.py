"""Sections of sweeps, drawn: for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ..sweep.folder import ReadSweep
from .section import print_section, section_markdown
from .sweep import group_section, sweep_sections, trials_section
from .sweep_group import group_studies


def print_sweeps(console: Console, sweeps: Sequence[ReadSweep], trials: bool) -> None:
    """Best parameters and summaries; with `trials`, every trial of every study too."""
    for shown in sweep_sections(sweeps, trials):
        print_section(console, shown)
        console.print()


def sweeps_markdown(sweeps: Sequence[ReadSweep], folder: Path) -> list[str]:
    """The same with every trial, as Markdown for a file in `folder`, with the plots where there are any."""
    sections = []
    for group in group_studies(sweeps):
        sections.append(section_markdown(group_section(group), None, folder))
        for study in group.labelled.values():
            plot = study.folder and ("score of each trial", study.folder / "plot.png")
            sections.append(section_markdown(trials_section(study.sweep), plot, folder))
    return sections
