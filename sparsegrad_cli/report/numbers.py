"""Numbers and names as tables show them."""

from __future__ import annotations

from .scale import DASH, POINTS
from .table import Cell, Column, Spread

COLLAPSED = "†"
METRICS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
}


def metric_words(metric: str) -> str:
    """`accuracy_mm` is shown as `accuracy mm`; a name that is not known, as it is."""
    for name, words in METRICS.items():
        if metric == name:
            return words
        if metric.startswith(f"{name}_"):
            return f"{words} {metric.removeprefix(f'{name}_')}"
    return metric


def spread_words(spread: Spread | None, count: bool = False) -> str:
    """Mean and spread times 100, with the number of seeds where that is wanted."""
    return POINTS.words(spread, count)


def cell_lines(cell: Cell | None, column: Column, count: bool) -> list[str]:
    """One text for each metric of the column; a cell with a collapsed run is marked."""
    if cell is None:
        return [DASH]
    mark = COLLAPSED if cell.collapsed else ""
    return [spread_words(cell.scores.get(metric), count) + mark for metric in column.metrics]


def notes(column: Column) -> list[str]:
    """What a column's head says of its data besides the metrics."""
    found = [] if column.completeness == "complete" else [column.completeness]
    if column.majority is not None:
        found.append(f"majority {100 * column.majority:.1f}")
    return [*found, column.mark] if column.mark else found


def amount(value: float | None) -> str:
    """A number of scalars in three digits: 22.7M."""
    if value is None:
        return DASH
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)}{unit}"
    return f"{value:.0f}"


def amount_and_share(value: float | None, share: float | None) -> str:
    return amount(value) if share is None else f"{amount(value)} ({percent(share)})"


def percent(share: float) -> str:
    """A share in two digits: 1.0%, 16%."""
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:#.2g}%"


def speed(value: float | None) -> str:
    return DASH if value is None else _three_digits(value)


def megabytes(value: float | None) -> str:
    """Of bytes; 1 MB is 10^6 of them."""
    return DASH if value is None else f"{value / 1e6:,.0f}"


def _three_digits(value: float) -> str:
    if value < 0.0995:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
