"""The report: tables of what has been run. Reads run folders, trains nothing, loads no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic_core import to_jsonable_python

from ..bench.folder import Bench, read_benches
from ..errors import WorkError
from ..gradients.folder import read_gradients
from ..judge.records import read_judgements
from ..store.atomic import write_text
from ..store.parts import read_parts
from ..sweep.folder import ReadSweep, read_sweeps
from .bench.words import section as bench_section
from .build import build_tables
from .chat import build_chat_tables
from .chat.section import chat_sections
from .chat.split import split_kinds
from .chat.table import ChatTable
from .compare import compare_tables
from .compare.table import ComparedTable
from .compare.words import compared_section
from .document import Chapter, Document
from .formats.files import DEFAULT_FORMATS, FORMATS
from .read import holds_runs, read_runs
from .section import Section
from .significance import Significance, find_significance, read_out
from .significance.words import significance_section
from .sweep import sweep_sections
from .table import Table
from .table_section import table_section

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report", "build_report", "read_runs"]


@dataclass(frozen=True)
class Report:
    """Tables, how many runs are in none of them, benchmarks, sweeps; where wanted, the paper's tables."""

    tables: tuple[Table, ...]
    chat: tuple[ChatTable, ...]
    left_out: dict[str, int]  # status -> runs
    benches: tuple[Bench, ...]
    sweeps: tuple[ReadSweep, ...]
    significance: tuple[Significance | None, ...]  # of each table; None: nothing to compare with SparseGrad
    comparison: tuple[ComparedTable, ...]
    runs: pd.DataFrame  # those of the tables, as `read_runs` has them
    folders: tuple[Path, ...]  # what was read

    def print(self, console: Console) -> None:
        """Draws the tables as wide as the console lets them."""
        from rich.text import Text

        from .formats.terminal import print_section

        compared = [compared_section(table) for table in self.comparison]
        for section in [
            *self._results(console.width),
            *self._conversations(),
            *(section for section in compared if not section.nothing_of_ours),
            *map(bench_section, self.benches),
            *sweep_sections(self.sweeps, trials=False),
        ]:
            print_section(console, section)
            console.print()
        pairs = zip(self.comparison, compared, strict=True)
        if alone := [str(table.number) for table, section in pairs if section.nothing_of_ours]:
            told = f"nothing of ours yet beside the paper's tables {', '.join(dict.fromkeys(alone))}"
            console.print(Text(told, style="dim"))
        for note in self._notes():
            console.print(Text(note, style="yellow"))

    def document(self, figures: Sequence[Section] = ()) -> Document:
        """What a format draws: all chapters that have anything in them."""
        chapters = {
            "Results": list(self._results()),
            "Conversations": list(self._conversations()),
            "Beside the paper": [compared_section(table) for table in self.comparison],
            "Benchmarks": [bench_section(bench) for bench in self.benches],
            "Sweeps": sweep_sections(self.sweeps, trials=True),
            "Figures": figures,
        }
        shown = [Chapter(title, sections) for title, sections in chapters.items() if sections]
        tables = (*self.tables, *(made.table for made in self.chat))
        return Document(shown or [Chapter("Results", [])], self._notes(), tables)

    def write(self, folder: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
        """Writes the report into `folder`, each file whole or not at all.

        Args:
            formats: names in `FORMATS`.

        Returns:
            The reports, then the figures that were drawn for them.

        Raises:
            WorkError: the folder cannot be written to.
        """
        chosen = [FORMATS[name] for name in formats]
        try:
            figures = self._figures(folder) if any(made.figures for made in chosen) else []
            document = self.document(figures)
            for made in chosen:
                write_text(folder / made.file, made.text(document, folder))
        except OSError as error:
            raise WorkError(f"cannot write to {folder}: {error.strerror or error}; see --output") from None
        drawn = [figure.path for section in figures for figure in section.figures]
        return [*(folder / made.file for made in chosen), *drawn]

    def to_json(self) -> dict[str, object]:
        """What `json.dumps` takes; scores as the metric gives them, beside the paper's in its units."""
        names = ("tables", "chat", "left_out", "benches", "sweeps", "significance", "comparison")
        return to_jsonable_python({name: getattr(self, name) for name in names}, inf_nan_mode="null")

    def _results(self, width: float = math.inf) -> Iterator[Section]:
        for table, found in zip(self.tables, self.significance, strict=True):
            yield table_section(table, width)
            if found:
                yield significance_section(found)

    def _conversations(self) -> Iterator[Section]:
        for made in self.chat:
            yield from chat_sections(made)

    def _figures(self, folder: Path) -> list[Section]:
        from .figures import draw_figures

        return draw_figures(self.runs, self.folders, folder / "figures")

    def _notes(self) -> list[str]:
        """On the whole."""
        anything = self.tables or self.chat or self.benches or self.sweeps
        notes = [] if anything else ["No finished run to show."]
        if self.left_out:
            notes.append("left out: " + ", ".join(f"{count} {why}" for why, count in self.left_out.items()))
        return notes


def build_report(folders: Sequence[Path], compare: bool = False) -> Report:
    """Tables of the finished runs in the folders; of a configuration and seed that were run twice, the first.

    Args:
        folders: results folders, any folders above runs, single runs, or single benchmarks or sweeps.
        compare: the paper's tables too, ours beside them.

    Raises:
        InputError: a folder is missing, or holds nothing to report, or a file is not what it should be.
    """
    benches, sweeps = read_benches(folders), read_sweeps(folders)
    # a folder may hold benchmarks or sweeps alone
    with_runs = [folder for folder in folders if holds_runs(folder) or not _holds_others(folder)]
    runs = read_runs(with_runs) if with_runs else pd.DataFrame(columns=["status", "same"], dtype=object)
    done = runs[runs["status"] == "done"]
    once = done.drop_duplicates("same")
    left_out = runs["status"][runs["status"] != "done"].value_counts().to_dict()
    if repeats := len(done) - len(once):
        left_out["repeated"] = repeats
    scored, chat = split_kinds(once)
    judgements = read_judgements(folders)
    tables = build_tables(scored)
    significance = find_significance(tables, scored)
    parts = read_parts(folders) if compare else ()
    comparison = compare_tables(scored, benches, sweeps, parts, chat, judgements) if compare else ()
    return Report(
        tables=tuple(map(read_out, tables, significance)),
        chat=build_chat_tables(chat, judgements),
        left_out=left_out,
        benches=benches,
        sweeps=sweeps,
        significance=significance,
        comparison=tuple(comparison),
        runs=once,
        folders=tuple(folders),
    )


def _holds_others(folder: Path) -> bool:
    """Whether anything but runs is there to report."""
    readers = (read_benches, read_sweeps, read_parts, read_gradients, read_judgements)
    return any(read([folder]) for read in readers)
