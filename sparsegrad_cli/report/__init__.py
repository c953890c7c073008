"""The report: tables of what has been run. Reads run folders, trains nothing, loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..bench.folder import Bench, read_benches
from ..store.atomic import write_text
from ..store.schema import Record
from ..sweep.folder import ReadSweep, read_sweeps
from .build import build_tables
from .files import to_csv, to_markdown
from .layout import left_out_words
from .read import holds_runs, read_runs
from .table import Table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report", "build_report", "read_runs"]


class Report(Record):
    """Tables, how many runs are in none of them, benchmarks and sweeps."""

    tables: tuple[Table, ...]
    left_out: dict[str, int]  # status -> runs
    benches: tuple[Bench, ...] = ()
    sweeps: tuple[ReadSweep, ...] = ()

    def print(self, console: Console) -> None:
        """Draws the tables as wide as the console lets them."""
        from rich.text import Text

        from .bench_words import print_bench
        from .sweep_words import print_sweeps
        from .terminal import print_table

        for table in self.tables:
            print_table(console, table)
            console.print()
        for bench in self.benches:
            print_bench(console, bench)
            console.print()
        print_sweeps(console, self.sweeps, trials=False)
        if not self.tables and not self.benches and not self.sweeps:
            console.print("No finished run to show.")
        if self.left_out:
            console.print(Text(left_out_words(self.left_out), style="yellow"))

    def write(self, folder: Path) -> list[Path]:
        """Writes `report.md` and `report.csv` into `folder`, each whole or not at all."""
        from .bench_words import bench_markdown
        from .sweep_words import sweeps_markdown

        markdown, csv = folder / "report.md", folder / "report.csv"
        sections = [bench_markdown(bench, folder) for bench in self.benches]
        sections += sweeps_markdown(self.sweeps, folder)
        write_text(markdown, to_markdown(self.tables, self.left_out, sections))
        write_text(csv, to_csv(self.tables))
        return [markdown, csv]

    def to_json(self) -> dict[str, object]:
        """What `json.dumps` takes; scores as the metric gives them."""
        return self.model_dump(mode="json")


def build_report(folders: Sequence[Path]) -> Report:
    """Tables of the finished runs in the folders; of a configuration and seed that were run twice, the first.

    Args:
        folders: results folders, any folders above runs, single runs, or single benchmarks or sweeps.

    Raises:
        InputError: a folder is missing, or holds neither run nor benchmark nor sweep, or a file is not what
            it should be.
    """
    benches, sweeps = read_benches(folders), read_sweeps(folders)
    # a folder may hold benchmarks or sweeps alone
    with_runs = [
        folder
        for folder in folders
        if holds_runs(folder) or not (read_benches([folder]) or read_sweeps([folder]))
    ]
    if not with_runs:
        return Report(tables=(), left_out={}, benches=benches, sweeps=sweeps)
    runs = read_runs(with_runs)
    done = runs[runs["status"] == "done"]
    once = done.drop_duplicates("same")
    left_out = runs["status"][runs["status"] != "done"].value_counts().to_dict()
    if repeats := len(done) - len(once):
        left_out["repeated"] = repeats
    return Report(tables=build_tables(once), left_out=left_out, benches=benches, sweeps=sweeps)
