"""Sections of benchmarks, drawn: for the terminal and as Markdown."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..bench.folder import Bench
from ..bench.schema import BenchConfig, CalibrationConfig
from .bench import Section, bench_section
from .bench_calibration import calibration_section
from .bench_runner import runner_section
from .files import escaped, grid_lines
from .terminal import NARROWEST, WIDEST, blocks, caption_lines, grid


def section(bench: Bench) -> Section:
    """Of any kind of benchmark."""
    if isinstance(bench.config, BenchConfig):
        return bench_section(bench)
    is_calibration = isinstance(bench.config, CalibrationConfig)
    return calibration_section(bench) if is_calibration else runner_section(bench)


def print_bench(console: Console, bench: Bench) -> None:
    """Tables, notes and caption; what is too wide for the console is broken in blocks."""
    shown = section(bench)
    width = min(max(console.width, NARROWEST), WIDEST)
    console.print(Text(shown.title, style="bold"), soft_wrap=True)
    for labels, *parts in shown.grids:
        for block in blocks(parts, console.width - labels.width):
            console.print()
            console.print(grid([labels, *block]), crop=False)
    console.print()
    for note in shown.notes:
        console.print(Text(textwrap.fill(note, width)), soft_wrap=True)
    if shown.notes:
        console.print()
    for line in caption_lines(shown.caption, width):
        console.print(Text(line, style="dim"), soft_wrap=True)


def bench_markdown(bench: Bench, folder: Path) -> str:
    """The same as Markdown for a file in `folder`, with the plot where there is one."""
    shown = section(bench)
    lines = [f"## {escaped(shown.title)}", ""]
    for parts in shown.grids:
        lines += [*grid_lines(parts), ""]
    plot = bench.folder / "plot.png"
    if plot.is_file():
        lines += [f"![steps per second against peak memory]({os.path.relpath(plot, folder.resolve())})", ""]
    lines += [f"{escaped(note)}\n" for note in shown.notes]
    lines += [f"- {name}: {escaped(text)}" for name, text in shown.caption.items()]
    return "\n".join([*lines, ""])
