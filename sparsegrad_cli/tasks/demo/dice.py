"""Seeded choices that are the same on every machine and Python version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Choices drawn from `random.Random.random` alone, the one method whose sequence Python promises to keep.

    Args:
        seed: any text; equal texts give equal choices.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float = 0.5) -> bool:
        """True with that probability."""
        return self._random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._random() * len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """That many different items, in random order."""
        rest = list(items)
        return [rest.pop(int(self._random() * len(rest))) for _ in range(count)]

    def other(self, items: Sequence[T], than: T) -> T:
        """One of the items that is not `than`."""
        return self.pick([item for item in items if item != than])

    def noise(self, size: float) -> float:
        """A number between -size and size."""
        return (2 * self._random() - 1) * size
