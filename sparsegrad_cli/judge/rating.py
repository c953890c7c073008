"""The rating in a judge's text, and what ratings come to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from .schema import Rating

# as FastChat: the first number in double brackets; without any, the first in single ones
PATTERNS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
LOWEST, HIGHEST = 1, 10


def rating_in(text: str) -> float | None:
    """A number from 1 to 10; None where the text gives none, or one that is out of range."""
    found = next((match for pattern in PATTERNS if (match := pattern.search(text))), None)
    rating = float(found[1]) if found else None
    return rating if rating is not None and LOWEST <= rating <= HIGHEST else None


def mean(ratings: Iterable[Rating]) -> float | None:
    """Of those that are there; None where none is."""
    numbers = [one.rating for one in ratings if one.rating is not None]
    return fmean(numbers) if numbers else None


def means_by(key: str, ratings: Iterable[Rating]) -> dict[str, float]:
    """The mean of each turn or category that has one, in the order in which they come.

    Args:
        key: "turn" or "category".
    """
    groups: dict[str, list[Rating]] = defaultdict(list)
    for one in ratings:
        groups[str(getattr(one, key))].append(one)
    return {name: found for name, group in groups.items() if (found := mean(group)) is not None}
