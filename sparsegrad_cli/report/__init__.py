"""The report: what was found, in sentences, tables and figures. Trains nothing and needs no GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from ..errors import InputError
from ..store.io import write_error, write_text
from .bench_tables import bench_sections
from .caption import run_caption
from .comparable import split_groups
from .load import Results, load_results
from .long_form import long_form
from .paper_tables import paper_sections
from .peft_json import peft_sections
from .run_tables import GroupTable, ablation_table, build_ablation, build_group
from .significance import FOOTNOTE
from .summary import power_words, rate_sentences, sentence, setting_sentence
from .sweep_tables import sweep_sections
from .table import Chapter, Figure, Section, listed, marks_in

if TYPE_CHECKING:
    from rich.console import Console

    from ..gradients.schema import Gradients

__all__ = ["Report", "build_report"]


@dataclass(frozen=True)
class Drawing:
    """Where figures are drawn, and which could not be; without a folder nothing is drawn."""

    folder: Path | None = None
    problems: list[str] = field(default_factory=list)

    def draw(self, make: Callable[..., list[Figure]], *args: Any) -> list[Figure]:
        try:
            return make(*args)
        except InputError as error:
            self.problems.append(f"Not drawn: {error}")
            return []

    def of_group(self, made: GroupTable, *kinds: str) -> list[Figure]:
        """Returns figures of a group, of kinds that `figures.runs.FIGURES` names."""
        if self.folder is None:
            return []
        from .figures.runs import FIGURES

        path = self.folder / re.sub(r"[^a-z0-9]+", "-", made.group.title.lower()).strip("-")
        return [figure for kind in kinds for figure in self.draw(FIGURES[kind], made, path)]

    def recording(self, shown: Gradients) -> Section:
        """Returns the section of a recording of gradients."""
        from .figures.gradients import gradient_figures, gradients_section

        drawn = self.draw(gradient_figures, shown, self.folder) if self.folder else []
        return gradients_section(shown, drawn)


@dataclass(frozen=True)
class Report:
    """What result folders say."""

    results: Results
    groups: tuple[GroupTable, ...]  # runs that may be compared, the largest group first
    ablations: tuple[GroupTable, ...]  # the settings of one method in one group
    compare: bool = False  # with the paper's tables

    @cached_property
    def paper(self) -> tuple[list[Section], list[int]]:
        """The paper's tables that something of ours stands beside, and the numbers of the others."""
        return paper_sections(self.results) if self.compare else ([], [])

    def chapters(self, drawing: Drawing | None = None) -> list[Chapter]:
        """Returns all that there is to say, the answer first."""
        drawing = drawing or Drawing()
        sections = [(made.group, self._group_section(made, drawing)) for made in self.groups]
        first: list[Section] = []
        if sections and not sections[0][0].is_chat:
            # its sentence stands above it, among those of all groups
            first = [replace(sections.pop(0)[1], sentence="")]
        chapters = [
            Chapter("The answer", first, [sentence(made) for made in self.groups]),
            Chapter("Other comparisons", [made for group, made in sections if not group.is_chat]),
            Chapter("Settings of a method", self._setting_sections(drawing)),
            Chapter("Conversations", [made for group, made in sections if group.is_chat]),
            Chapter("Beside the paper", self.paper[0]),
            Chapter("Beside PEFT", peft_sections(self.results.peft, self.results.done)),
            Chapter("Benchmarks", bench_sections(self.results.benches)),
            Chapter("Sweeps", sweep_sections(self.results.sweeps, trials=True)),
            Chapter("Gradients", [drawing.recording(each) for each in self.results.gradients]),
        ]
        return [chapter for chapter in chapters if chapter.sections or chapter.sentences]

    @property
    def notes(self) -> list[str]:
        """What must be said of the whole."""
        notes = []
        found = self.results
        shown = (found.benches, found.sweeps, found.gradients, found.peft, found.parts)
        if not self.groups and not any(shown):
            notes.append("No finished run to show.")
        if found.parts and not self.compare:
            notes.append("Counts of parameters are shown as table 1: sparsegrad report --compare paper.")
        if alone := self.paper[1]:
            numbers = listed([str(number) for number in alone])
            notes.append(f"Nothing of ours yet beside the paper's tables {numbers}.")
        if self.results.left_out:
            words = ", ".join(f"{count} {status}" for status, count in self.results.left_out.items())
            notes.append(f"Runs without a score, left out: {words}.")
        notes += [f"Left out: {message}" for message in self.results.unreadable]
        return notes

    def write(self, folder: Path, formats: Sequence[str] = ("md", "csv")) -> list[Path]:
        """Writes the report into `folder`, each file whole or not at all.

        Args:
            formats: names in `render.FORMATS`.

        Returns:
            The reports, then the figures that were drawn for them.

        Raises:
            WorkError: the folder cannot be written to.
        """
        from .render import FORMATS, Document

        chosen = [FORMATS[name] for name in formats]
        drawing = Drawing(folder / "figures" if any(made.figures for made in chosen) else None)
        try:
            chapters = self.chapters(drawing)
            numbers = long_form(self.groups, self.ablations)
            document = Document(chapters, [*self.notes, *drawing.problems], numbers)
            for made in chosen:
                write_text(folder / made.file, made.text(document, folder))
        except OSError as error:
            raise write_error(folder, error) from None
        drawn = [f.path for chapter in chapters for section in chapter.sections for f in section.figures]
        ours = [path for path in drawn if path.parent == folder / "figures"]
        return [*(folder / made.file for made in chosen), *dict.fromkeys(ours)]

    def print(self, console: Console) -> None:
        """Prints everything but figures and trials, as wide as the console lets it."""
        from .render.terminal import print_section, print_text

        for chapter in self.chapters():
            console.print()
            print_text(console, chapter.title.upper(), "bold")
            for words in chapter.sentences:
                print_text(console, f"- {words}")
            for section in chapter.sections:
                if not section.is_listing:
                    console.print()
                    print_section(console, section, caption=False)
        for note in self.notes:
            print_text(console, note, "yellow")

    def print_brief(self, console: Console, output: Path, verbose: bool) -> None:
        """Prints the end of a command: for each group its table, its sentence, what it ran on.

        Args:
            output: where the results were written.
            verbose: with the differences by task, the ratings and all that one must know of the numbers.
        """
        from .render.terminal import print_section, print_text

        for made in self.groups:
            if made is not self.groups[0]:
                console.print()
            section = self._group_section(made, Drawing()) if verbose else _brief_section(made)
            print_section(console, section)
        for section in [
            *bench_sections(self.results.benches),
            *sweep_sections(self.results.sweeps, False),
        ]:
            print_section(console, section, caption=False)
        for note in self.notes:
            print_text(console, note, "yellow")
        if self.groups:
            more = "" if verbose else "more with --verbose; "
            print_text(console, f"Written to {output}; {more}with figures: sparsegrad report {output}", "dim")

    def checklist(self) -> str:
        """Returns ACL's reproducibility items as Markdown."""
        from .checklist import checklist
        from .render import to_markdown

        return to_markdown(checklist(self.results, self.groups), self.notes, Path())

    def to_json(self) -> dict[str, Any]:
        """Returns what `json.dumps` takes; scores as the metric gives them, bytes as bytes."""
        made = {
            "tables": [_group_json(each) for each in self.groups],
            "ablations": [_group_json(each) for each in self.ablations],
            "left_out": self.results.left_out,
            "unreadable": self.results.unreadable,
            "benches": self.results.benches,
            "sweeps": self.results.sweeps,
            "peft": self.results.peft,
            "paper": [section.title for section in self.paper[0]],
        }
        return to_jsonable_python(made, inf_nan_mode="null", serialize_unknown=True)

    def _group_section(self, made: GroupTable, drawing: Drawing) -> Section:
        tables = [table for table in (made.table(), made.difference_table(), *made.rating_tables()) if table]
        marks, caption = marks_in(tables), run_caption(made)
        if made.significance.comparisons:
            caption["statistics"] = "as under the first table"
            if made is self.groups[0]:
                caption["statistics"] = f"{FOOTNOTE} {made.significance.resamples:,} samples."
        notes = [made.significance.note, power_words(made), f"{marks}." if marks else ""]
        return Section(
            title=made.group.title,
            sentence=sentence(made, title=False),
            tables=tables,
            notes=list(filter(None, notes)),
            caption=caption,
            figures=drawing.of_group(made, "forest", "costs", "training"),
        )

    def _setting_sections(self, drawing: Drawing) -> list[Section]:
        """Learning rates of each group, then the settings of each method."""
        sections = [
            Section(
                f"Learning rates: {made.group.title}",
                " ".join(sentences),
                figures=drawing.of_group(made, "rates"),
            )
            for made in self.groups
            if (sentences := rate_sentences(made))
        ]
        for made in self.ablations:
            method, words = made.rows[0].method, setting_sentence(made)
            sections.append(
                Section(
                    title=f"{method}: {made.group.title}",
                    sentence=f"{words[0].upper()}{words[1:]}",
                    tables=[ablation_table(made)],
                    notes=list(filter(None, [power_words(made)])),
                    figures=drawing.of_group(made, "kept") if method == "sparsegrad" else (),
                )
            )
        return sections


def build_report(folders: Sequence[Path], compare: bool = False, baseline: str | None = None) -> Report:
    """Reads result folders and compares what may be compared.

    Args:
        folders: results folders, any folders above runs, single runs or other single results; files of PEFT.
        compare: the paper's tables too, ours beside them.
        baseline: method that the others are compared with; see `significance.compare`.

    Raises:
        InputError: a folder is missing, nothing in them can be read, or no run is of the baseline.
    """
    results = load_results(folders)
    done = results.done
    if baseline is not None and baseline not in set(done.get("method", ())):
        there = ", ".join(sorted(set(done.get("method", ())))) or "none"
        raise InputError(f"--baseline {baseline}: no finished run of this method; there is {there}")
    groups = split_groups(done)
    return Report(
        results=results,
        groups=tuple(build_group(group, baseline, results.judgements) for group in groups),
        ablations=tuple(build_ablation(group, method) for group in groups for method in group.ablations),
        compare=compare,
    )


def _brief_section(made: GroupTable) -> Section:
    """The table of a group, its sentence and what it ran on, for a terminal."""
    table, caption = made.table(brief=True), run_caption(made)
    notes = [power_words(made), marks_in([table]), f"{caption['ran on']}; {caption['data']}"]
    return Section(made.group.title, sentence(made, title=False), [table], list(filter(None, notes)))


def _group_json(made: GroupTable) -> dict[str, Any]:
    first = made.group.first
    rows = []
    for row in made.rows:
        scores = {
            column.name: {name: score for name in column.metrics if (score := made.score(row, column, name))}
            for column in made.columns
            if column.name in row.choices
        }
        rows.append(
            {
                **{"method": row.method, "settings": row.settings, "label": row.label, "scores": scores},
                **{"average": made.average(row), "choices": row.choices, "costs": made.costs[row.label]},
            }
        )
    shared = ("model", "checkpoint", "protocol", "freeze_rest", "device", "precision")
    return {
        **{"title": made.group.title, "sentence": sentence(made)},
        **{name: first[name] for name in shared},
        **{"data": made.group.kind, "tasks": [column.name for column in made.columns], "rows": rows},
        "comparisons": [{**vars(each), "verdict": each.verdict} for each in made.significance.comparisons],
        "caption": run_caption(made),
    }
