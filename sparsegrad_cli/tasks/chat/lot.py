"""Trees drawn at random; whole trees, so that no beginning of a conversation is in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def draw_trees(trees: Iterable[str], count: int) -> set[str]:
    """So many trees by a fixed lot, which each draws by its id alone, whatever the others are."""
    return set(sorted(trees, key=lambda tree: hashlib.sha256(tree.encode()).digest())[:count])
