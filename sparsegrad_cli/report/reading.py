"""The numbers of a table read out in plain words; nothing that they do not say, and no advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .numbers import COLLAPSED, metric_words, percent
from .rows import method_order
from .scale import Scale, scale_of
from .table import Column, Row, Spread

FEW_SEEDS = 5
WITHIN, BEYOND, UNKNOWN = "within the spread of the seeds", "beyond the spread of the seeds", ""
SIGNIFICANT, CHANCE = "significant", "not significant"

Tested = Mapping[
    tuple[str, str], bool
]  # labels of two rows -> whether their one numbers differ significantly


def reading(rows: Sequence[Row], columns: Sequence[Column], tested: Tested | None = None) -> tuple[str, ...]:
    """A text for every row of SparseGrad (without any, for the last row) against those of other methods.

    Args:
        tested: pairs of rows; those that are not in it are judged by the spread of the seeds.
    """
    subjects = [row for row in rows if row.method == "sparsegrad"] or [rows[-1]]
    others = sorted(
        (row for row in rows if row.method != subjects[0].method),
        key=lambda row: (row.method != "lora", method_order(row.method)),
    )
    return tuple(_read_row(row, others, columns, tested or {}) for row in subjects)


def _read_row(row: Row, others: Sequence[Row], columns: Sequence[Column], tested: Tested) -> str:
    trained = _trained(row)
    score = _score(row, columns)
    if score is None:
        return f"{row.label} has no average over the tasks to compare.{trained}"
    compared = [(other, found) for other in others if (found := _score(other, columns))]
    scale = scale_of(columns[0].score_name)
    what = metric_words(columns[0].score_name) if len(columns) == 1 else "average over tasks"
    what += ", lower is better" if scale.less_is_better else ""
    seeds = {0: "seeds that differ between tasks", 1: "one seed"}.get(score.n, f"{score.n} seeds")
    verdicts = [_verdict(score, found, tested.get((row.label, other.label))) for other, found in compared]
    differences = _differences(score, compared, verdicts, scale)
    text = f"On {seeds}, {_marked(row)} scores {scale.words(score)} ({what})"
    text += f": {differences}." if differences else "."
    return text + trained + _caution(score, [found for _, found in compared], verdicts)


def _score(row: Row, columns: Sequence[Column]) -> Spread | None:
    """The one number of a row: of its only task, else the average."""
    if len(columns) > 1:
        return row.average
    return row.cells[0].scores.get(columns[0].score_name) if row.cells[0] else None


def _marked(row: Row) -> str:
    return row.label + (COLLAPSED if row.collapsed else "")


def _differences(
    score: Spread, compared: Sequence[tuple[Row, Spread]], verdicts: Sequence[str], scale: Scale
) -> str:
    """How far the score is from each other row's, those differences first that chance does not explain."""
    texts: dict[str, list[str]] = {v: [] for v in (SIGNIFICANT, BEYOND, CHANCE, WITHIN, UNKNOWN)}
    for (other, found), verdict in zip(compared, verdicts, strict=True):
        texts[verdict].append(_difference(score, other, found, scale))
    parts = []
    for verdict, found in texts.items():
        every = {1: "", 2: "both "}.get(len(found), "all ")
        if found:
            parts.append(_listed(found) + (f" ({every}{verdict})" if verdict else ""))
    return "; ".join(parts)


def _verdict(score: Spread, other: Spread, significant: bool | None) -> str:
    if significant is not None:
        return SIGNIFICANT if significant else CHANCE
    if score.std is None or other.std is None:
        return UNKNOWN
    return WITHIN if abs(score.mean - other.mean) <= max(score.std, other.std) else BEYOND


def _difference(score: Spread, other: Row, found: Spread, scale: Scale) -> str:
    shown = scale.shown(score.mean - found.mean)
    if not shown:
        return f"level with {_marked(other)}"
    return f"{abs(shown):.{scale.digits}f} {scale.unit} {'above' if shown > 0 else 'below'} {_marked(other)}"


def _trained(row: Row) -> str:
    cost = row.cost
    if cost.adapted_share is None:
        return ""
    ever = "" if cost.touched_share is None else f" ({percent(cost.touched_share)} touched in all)"
    return f" It trains {percent(cost.adapted_share)} of the MLP entries a step{ever}."


def _caution(score: Spread, others: Sequence[Spread], verdicts: Sequence[str]) -> str:
    least = min(spread.n for spread in (score, *others))
    if score.std is None or any(other.std is None for other in others):
        return " One seed shows nothing about the spread between seeds."
    within = " Differences within the spread mean little." if WITHIN in verdicts else ""
    if least >= FEW_SEEDS:
        return within
    tested = {SIGNIFICANT, CHANCE} & set(verdicts)
    rough = "can show large differences only" if tested else "tell the spread only roughly"
    return f"{within} {least} seeds {rough}."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
