"""The report: what was found, in sentences, tables and figures. Trains nothing and needs no GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from ..errors import InputError, WorkError
from ..store.io import write_text
from .bench_tables import bench_sections
from .caption import run_caption
from .comparable import split_groups
from .gradient_tables import gradients_section
from .load import Results, load_results
from .long_form import long_form
from .paper_tables import paper_sections
from .run_tables import GroupTable, ablation_table, build_ablation, build_group
from .significance import FOOTNOTE, left_out_words
from .summary import power_words, rate_sentences, sentence
from .sweep_tables import sweep_sections
from .table import Chapter, Figure, Section, listed, marks_in

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report", "build_report"]


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

    def chapters(self, figures: dict[str, list[Figure]] | None = None) -> list[Chapter]:
        """Returns all that there is to say, the answer first.

        Args:
            figures: as `draw` returns them.
        """
        figures = figures or {}
        sections = [self._group_section(made, figures) for made in self.groups]
        # the sentence of the first stands above it among those of all
        first = [replace(made, sentence="") for made in sections[:1] if not self.groups[0].group.is_chat]
        rest = list(zip(self.groups[len(first) :], sections[len(first) :], strict=True))
        chapters = [
            Chapter("The answer", first, [sentence(made) for made in self.groups]),
            Chapter("Other comparisons", [made for group, made in rest if not group.group.is_chat]),
            Chapter("Settings of a method", self._setting_sections(figures)),
            Chapter("Conversations", [made for group, made in rest if group.group.is_chat]),
            Chapter("Beside the paper", self.paper[0]),
            Chapter("Benchmarks", bench_sections(self.results.benches)),
            Chapter("Sweeps", sweep_sections(self.results.sweeps, trials=True)),
            Chapter(
                "Gradients",
                [gradients_section(g, figures.get(g.result.id, ())) for g in self.results.gradients],
            ),
        ]
        return [chapter for chapter in chapters if chapter.sections or chapter.sentences]

    @property
    def notes(self) -> list[str]:
        """What must be said of the whole."""
        notes = []
        if not (self.groups or self.results.benches or self.results.sweeps or self.results.gradients):
            notes.append("No finished run to show.")
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
        try:
            wants_figures = any(made.figures for made in chosen)
            figures, problems = self.draw(folder / "figures") if wants_figures else ({}, [])
            chapters = self.chapters(figures)
            document = Document(chapters, [*self.notes, *problems], long_form(self.groups, self.ablations))
            for made in chosen:
                write_text(folder / made.file, made.text(document, folder))
        except OSError as error:
            raise WorkError(f"cannot write to {folder}: {error.strerror or error}; see --output") from None
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

    def print_brief(self, console: Console, output: Path) -> None:
        """Prints the end of a command: for each group its table, its sentence, what it ran on."""
        from .render.terminal import print_section, print_text

        for made in self.groups:
            table = made.table(brief=True)
            marks = marks_in([table])
            runs_on = run_caption(made)
            notes = [power_words(made), marks, f"{runs_on['ran on']}; {runs_on['data']}"]
            section = Section(
                made.group.title, sentence(made, title=False), [table], list(filter(None, notes))
            )
            print_section(console, section)
        for section in [
            *bench_sections(self.results.benches),
            *sweep_sections(self.results.sweeps, False),
        ]:
            print_section(console, section, caption=False)
        for note in self.notes:
            print_text(console, note, "yellow")
        if self.groups:
            print_text(console, f"More, with figures: sparsegrad report {output}", "dim")

    def checklist(self) -> str:
        """Returns ACL's reproducibility items as Markdown."""
        from .checklist import checklist
        from .render.markdown import to_markdown

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
            "paper": [section.title for section in self.paper[0]],
        }
        return to_jsonable_python(made, inf_nan_mode="null", serialize_unknown=True)

    def _group_section(self, made: GroupTable, figures: dict[str, list[Figure]]) -> Section:
        tables = [table for table in (made.table(), made.difference_table(), *made.rating_tables()) if table]
        marks = marks_in(tables)
        compared = bool(made.significance.comparisons)
        notes = [
            *left_out_words(made.significance),
            power_words(made),
            f"{marks}." if marks else "",
        ]
        caption = run_caption(made)
        if compared and made is self.groups[0]:
            caption["statistics"] = f"{FOOTNOTE} {made.significance.resamples:,} samples."
        elif compared:
            caption["statistics"] = "as under the first table"
        return Section(
            title=made.group.title,
            sentence=sentence(made, title=False),
            tables=tables,
            notes=list(filter(None, notes)),
            caption=caption,
            figures=[
                figure
                for what in ("forest", "costs", "training")
                for figure in figures.get(f"{what} {made.group.title}", ())
            ],
        )

    def _setting_sections(self, figures: dict[str, list[Figure]]) -> list[Section]:
        """Learning rates of each group, then the settings of each method."""
        sections = []
        for made in self.groups:
            if sentences := rate_sentences(made):
                title = f"Learning rates: {made.group.title}"
                shown = figures.get(f"rates {made.group.title}", ())
                sections.append(Section(title, " ".join(sentences), figures=shown))
        for made in self.ablations:
            method, table = made.rows[0].method, ablation_table(made)
            found = [each for each in made.significance.comparisons if each.verdict in ("above", "below")]
            if found:
                words = "; ".join(f"{e.subject} is {e.words(made.scale)} on {e.task}" for e in found)
            elif made.significance.comparisons:
                words = "no setting is shown to differ from the reference in the first row"
            else:
                words = "nothing to compare"
            sections.append(
                Section(
                    title=f"{method}: {made.group.title}",
                    sentence=f"{words[0].upper()}{words[1:]}.",
                    tables=[table],
                    notes=[power_words(made)] if power_words(made) else [],
                    figures=figures.get(f"kept {made.group.title}", ()) if method == "sparsegrad" else (),
                )
            )
        return sections

    def draw(self, folder: Path) -> tuple[dict[str, list[Figure]], list[str]]:
        """Draws every figure into `folder`.

        Returns:
            The figures, by what they show of which group and by the id of a recording; and a message for
            each that could not be drawn.
        """
        from .figures.gradients import gradient_figures
        from .figures.runs import cost_figure, curve_figures, forest_figure, kept_figure, rate_figure

        found: dict[str, list[Figure]] = {}
        problems: list[str] = []

        def keep(name: str, make: Callable[[], list[Figure]]) -> None:
            try:
                found[name] = make()
            except InputError as error:
                problems.append(f"Not drawn: {error}")

        names: list[str] = []
        for made in self.groups:
            title = made.group.title
            name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:80]
            names.append(name)
            if names.count(name) > 1:
                name = f"{name}-{names.count(name)}"
            makers = {
                "forest": forest_figure,
                "rates": rate_figure,
                "kept": kept_figure,
                "costs": cost_figure,
            }
            for what, make in makers.items():
                figure = make(made, folder / f"{name}-{what}.png")
                found[f"{what} {title}"] = [figure] if figure else []
            keep(f"training {title}", partial(curve_figures, made, folder, name))
        for shown in self.results.gradients:
            keep(shown.result.id, partial(gradient_figures, shown, folder))
        return found, problems


def build_report(folders: Sequence[Path], compare: bool = False, baseline: str | None = None) -> Report:
    """Reads result folders and compares what may be compared.

    Args:
        folders: results folders, any folders above runs, single runs or other single results.
        compare: the paper's tables too, ours beside them.
        baseline: method that the others are compared with; see `significance.compare`.

    Raises:
        InputError: a folder is missing, nothing is in them, or no run is of the baseline.
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
    return {
        "title": made.group.title,
        "sentence": sentence(made),
        **{
            name: first[name]
            for name in ("model", "checkpoint", "protocol", "freeze_rest", "device", "precision")
        },
        "data": made.group.kind,
        "tasks": [column.name for column in made.columns],
        "rows": rows,
        "comparisons": [{**vars(each), "verdict": each.verdict} for each in made.significance.comparisons],
        "caption": run_caption(made),
    }
