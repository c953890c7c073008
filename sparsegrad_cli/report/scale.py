"""How scores of a kind are shown, and which of two is the better one."""

from __future__ import annotations

from dataclasses import dataclass

from ..store.records import greater_is_better
from .table import Spread

DASH = "–"


@dataclass(frozen=True)
class Scale:
    """From scores as the metric gives them to what a reader sees."""

    times: float
    digits: int  # behind the point
    what: str
    unit: str  # of a difference
    axis: str  # what a figure's axis says after the metric
    less_is_better: bool = False

    def shown(self, value: float) -> float:
        """In the units that are shown, rounded."""
        return round(self.times * value, self.digits) + 0.0  # + 0.0: no -0.0

    def number(self, value: float, sign: str = "") -> str:
        """As text; with `sign` "+", signed."""
        return f"{self.shown(value):{sign}.{self.digits}f}"

    def words(self, spread: Spread | None, count: bool = False) -> str:
        """Mean and spread, with the number of seeds where that is wanted."""
        if spread is None:
            return DASH
        deviation = "" if spread.std is None else f" ± {self.number(spread.std)}"
        return f"{self.number(spread.mean)}{deviation}" + (f" ({spread.n})" if count else "")


POINTS = Scale(100, 1, "score", "points", " × 100")
RATINGS = Scale(1, 2, "rating", "of 10", "")
NATS = Scale(1, 3, "validation loss", "nats", ", nats  (lower is better)", less_is_better=True)


def scale_of(score_name: str) -> Scale:
    """That of a main metric: of a loss as it is, of GLUE's metrics times 100."""
    return POINTS if greater_is_better(score_name) else NATS
