"""Sections of benchmarks of any kind."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from ...bench.folder import Bench
from ...bench.schema import BenchConfig, CalibrationConfig
from ..formats.terminal import print_section
from ..section import Figure, Section
from . import bench_section
from .calibration import calibration_section
from .runner import runner_section


def section(bench: Bench) -> Section:
    """Of any kind of benchmark, with the plot where there is one."""
    figure = Figure("steps per second against peak memory", bench.folder / "plot.png")
    return replace(_tables(bench), figures=[figure] if figure.path.is_file() else [])


def print_bench(console: Console, bench: Bench) -> None:
    """Tables, notes and caption; what is too wide for the console is broken in blocks."""
    print_section(console, section(bench))


def _tables(bench: Bench) -> Section:
    if isinstance(bench.config, BenchConfig):
        return bench_section(bench)
    is_calibration = isinstance(bench.config, CalibrationConfig)
    return calibration_section(bench) if is_calibration else runner_section(bench)
