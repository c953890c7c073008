"""Sections of sweeps in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ...sweep.folder import ReadSweep
from ..formats.terminal import print_section
from . import sweep_sections


def print_sweeps(console: Console, sweeps: Sequence[ReadSweep], trials: bool) -> None:
    """Best parameters and summaries; with `trials`, every trial of every study too."""
    for shown in sweep_sections(sweeps, trials):
        print_section(console, shown)
        console.print()
