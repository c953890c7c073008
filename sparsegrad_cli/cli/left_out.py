"""Say which rows and conversations are not trained on, before the training begins."""

from __future__ import annotations

import sys

from ..tasks.load import TaskData

NAMED = 20  # rows or trees


def tell_left_out(data: TaskData, quiet: bool = False) -> None:
    """Name the invalid rows and malformed trees, a line each, on stderr, and count the trees not wanted."""
    if quiet:
        return
    for one in data.left_out[:NAMED]:
        print(f"left out: {one.name}: {one.reason} ({one.place})", file=sys.stderr)
    if len(data.left_out) > NAMED:
        print(f"left out: {len(data.left_out) - NAMED} more", file=sys.stderr)
    for reason, count in data.skipped.items():
        print(f"left out: {count} trees: {reason}", file=sys.stderr)
