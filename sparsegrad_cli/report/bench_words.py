"""Sections of benchmarks, drawn: for the terminal and as Markdown."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ..bench.folder import Bench
from ..bench.schema import BenchConfig, CalibrationConfig
from .bench import bench_section
from .bench_calibration import calibration_section
from .bench_runner import runner_section
from .section import Section, print_section, section_markdown


def section(bench: Bench) -> Section:
    """Of any kind of benchmark."""
    if isinstance(bench.config, BenchConfig):
        return bench_section(bench)
    is_calibration = isinstance(bench.config, CalibrationConfig)
    return calibration_section(bench) if is_calibration else runner_section(bench)


def print_bench(console: Console, bench: Bench) -> None:
    """Tables, notes and caption; what is too wide for the console is broken in blocks."""
    print_section(console, section(bench))


def bench_markdown(bench: Bench, folder: Path) -> str:
    """The same as Markdown for a file in `folder`, with the plot where there is one."""
    plot = ("steps per second against peak memory", bench.folder / "plot.png")
    return section_markdown(section(bench), plot, folder)
