"""Numbers in long form as CSV, for programs."""

from __future__ import annotations

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


def to_csv(numbers: pd.DataFrame) -> str:
    """Returns the frame as CSV; a text that a spreadsheet would run as a formula gets an apostrophe."""
    return numbers.map(_plain).to_csv(index=False)


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
