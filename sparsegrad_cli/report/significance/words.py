"""The comparisons of a table, drawn: a row a method, a column a task, the difference with its interval."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import pandas as pd

from ..bench.caption import counted
from ..layout import Part
from ..numbers import DASH
from ..scale import POINTS, Scale
from ..section import Section
from ..table import Table
from . import AVERAGE, Comparison, Significance, find_significance

SIGNIFICANT = "*"
FEW_SEEDS = 5


def significance_sections(tables: Sequence[Table], runs: pd.DataFrame) -> list[Section]:
    """A section for each table that has rows to compare."""
    return [significance_section(found) for found in find_significance(tables, runs) if found]


def significance_section(found: Significance, scale: Scale = POINTS) -> Section:
    """A grid for each row of SparseGrad.

    Args:
        scale: of the scores.
    """
    subjects = dict.fromkeys(each.subject for each in found.comparisons)
    return Section(
        title=f"Is the difference significant? {found.table}",
        grids=[
            _parts(subject, [each for each in found.comparisons if each.subject == subject], scale)
            for subject in subjects
        ],
        notes=_notes(found, scale),
        caption=_caption(found, scale),
    )


def _parts(subject: str, comparisons: Sequence[Comparison], scale: Scale) -> list[Part]:
    others = list(dict.fromkeys(each.other for each in comparisons))
    tasks = list(dict.fromkeys(each.task for each in comparisons))
    by_place = {(each.other, each.task): each for each in comparisons}
    labels = Part([f"{subject} less"], [[other] for other in others])
    return [
        labels,
        *(Part([task], [[_cell(by_place.get((other, task)), scale)] for other in others]) for task in tasks),
    ]


def _cell(each: Comparison | None, scale: Scale) -> str:
    if each is None:
        return DASH
    mark = SIGNIFICANT if each.significant else ""
    return f"{scale.number(each.difference, '+')}{mark} [{scale.number(each.low)}, {scale.number(each.high)}]"


def _notes(found: Significance, scale: Scale) -> list[str]:
    """What is significant, in words; what is not there, and why."""
    count = sum(each.significant for each in found.comparisons)
    told = [
        f"{each.subject} is {scale.number(abs(each.difference))} {scale.unit} "
        f"{'above' if each.difference > 0 else 'below'} {each.other} on {each.task}"
        for each in found.comparisons
        if each.significant
    ]
    if not found.comparisons:
        first = "Nothing to compare."
    elif not count:
        first = f"None of {counted(len(found.comparisons), 'difference')} is significant."
    else:
        total = counted(len(found.comparisons), "difference")
        first = f"{count} of {total} {'is' if count == 1 else 'are'} significant: {'; '.join(told)}."
    return [first, *_left_out(found)]


def _left_out(found: Significance) -> list[str]:
    """How many runs of which rows, for each reason."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for each in found.left_out:
        reasons[each.why][each.row] += 1
    told = []
    for why, rows in reasons.items():
        runs = ", ".join(f"{counted(size, 'run')} of {row}" for row, size in rows.items())
        told.append(f"{why}: {runs}")
    return [f"Left out, {'; '.join(told)}."] if told else []


def _caption(found: Significance, scale: Scale) -> dict[str, str]:
    if not found.comparisons:
        return {}
    total = counted(len(found.comparisons), "comparison")
    told = {
        "cells": f"difference of the main metric in {scale.unit}, with its "
        f"{100 * (1 - found.level):g}% interval; "
        f"{SIGNIFICANT} p < {found.level:g} after Holm's correction for the {total} of this section",
        "method": f"paired bootstrap of the examples, {found.resamples:,} samples, the same examples for all "
        "methods and seeds; between seeds, Student's t over the seeds' paired differences",
        "seeds": _seeds(found.comparisons),
        "average": "each task resampled for itself, with the mean of its metrics (of mnli, those of the "
        "matched split)"
        if any(each.task == AVERAGE for each in found.comparisons)
        else "",
    }
    return {name: text for name, text in told.items() if text}


def _seeds(comparisons: Sequence[Comparison]) -> str:
    sizes = [len(each.seeds) for each in comparisons if each.task != AVERAGE]
    few = min(sizes)
    if max(sizes) == 1:
        return "one: only the examples are resampled, which says nothing about other seeds"
    told = f"{few}" if few == max(sizes) else f"{few} to {max(sizes)}"
    single = "; where there is one, only the examples are resampled" if few == 1 else ""
    rough = "; so few that only large differences can show" if few < FEW_SEEDS else ""
    return f"{told} that both methods have{single}{rough}"
