"""Moved to `records`; here until its users have moved."""

from .records import LOSS, greater_is_better
from .records import format_score as score_words

__all__ = ["LOSS", "greater_is_better", "score_words"]
