"""The numbers of a table read out in plain words; nothing that they do not say, and no advice."""

from __future__ import annotations

from collections.abc import Sequence

from .numbers import COLLAPSED, metric_words, percent, spread_words
from .rows import method_order
from .table import Column, Row, Spread

FEW_SEEDS = 5
WITHIN, BEYOND, UNKNOWN = "within the spread of the seeds", "beyond the spread of the seeds", ""


def reading(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[str, ...]:
    """A text for every row of SparseGrad (without any, for the last row) against those of other methods."""
    subjects = [row for row in rows if row.method == "sparsegrad"] or [rows[-1]]
    others = sorted(
        (row for row in rows if row.method != subjects[0].method),
        key=lambda row: (row.method != "lora", method_order(row.method)),
    )
    return tuple(_read_row(row, others, columns) for row in subjects)


def _read_row(row: Row, others: Sequence[Row], columns: Sequence[Column]) -> str:
    trained = _trained(row)
    score = _score(row, columns)
    if score is None:
        return f"{row.label} has no average over the tasks to compare.{trained}"
    compared = [(other, found) for other in others if (found := _score(other, columns))]
    what = metric_words(columns[0].score_name) if len(columns) == 1 else "average over tasks"
    seeds = {0: "seeds that differ between tasks", 1: "one seed"}.get(score.n, f"{score.n} seeds")
    differences = _differences(score, compared)
    text = f"On {seeds}, {_marked(row)} scores {spread_words(score)} ({what})"
    text += f": {differences}." if differences else "."
    return text + trained + _caution(score, [found for _, found in compared])


def _score(row: Row, columns: Sequence[Column]) -> Spread | None:
    """The one number of a row: of its only task, else the average."""
    if len(columns) > 1:
        return row.average
    return row.cells[0].scores.get(columns[0].score_name) if row.cells[0] else None


def _marked(row: Row) -> str:
    return row.label + (COLLAPSED if row.collapsed else "")


def _differences(score: Spread, compared: Sequence[tuple[Row, Spread]]) -> str:
    """How far the score is from each other row's, those differences first that the seeds do not explain."""
    texts: dict[str, list[str]] = {BEYOND: [], WITHIN: [], UNKNOWN: []}
    for other, found in compared:
        texts[_verdict(score, found)].append(_difference(score, other, found))
    parts = []
    for verdict, found in texts.items():
        every = {1: "", 2: "both "}.get(len(found), "all ")
        if found:
            parts.append(_listed(found) + (f" ({every}{verdict})" if verdict else ""))
    return "; ".join(parts)


def _verdict(score: Spread, other: Spread) -> str:
    if score.std is None or other.std is None:
        return UNKNOWN
    return WITHIN if abs(score.mean - other.mean) <= max(score.std, other.std) else BEYOND


def _difference(score: Spread, other: Row, found: Spread) -> str:
    points = 100 * (score.mean - found.mean)
    if abs(points) < 0.05:
        return f"level with {_marked(other)}"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} {_marked(other)}"


def _trained(row: Row) -> str:
    cost = row.cost
    if cost.adapted_share is None:
        return ""
    ever = "" if cost.touched_share is None else f" ({percent(cost.touched_share)} touched in all)"
    return f" It trains {percent(cost.adapted_share)} of the MLP entries a step{ever}."


def _caution(score: Spread, others: Sequence[Spread]) -> str:
    if score.std is None or UNKNOWN in (_verdict(score, other) for other in others):
        return " One seed shows nothing about the spread between seeds."
    inside = WITHIN in (_verdict(score, other) for other in others)
    within = " Differences within the spread mean little." if inside else ""
    least = min(spread.n for spread in (score, *others))
    return f"{within} {least} seeds tell the spread only roughly." if least < FEW_SEEDS else within


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
