"""What of the conversations is not trained on, told before the training begins."""

from __future__ import annotations

import sys

from ..tasks.load import TaskData

NAMED = 20  # trees


def tell_left_out(data: TaskData, quiet: bool = False) -> None:
    """Names the malformed trees, a line each, on stderr, and counts those that are not wanted."""
    if quiet:
        return
    for tree in data.left_out[:NAMED]:
        print(f"left out: tree {tree.tree}: {tree.reason} ({tree.place})", file=sys.stderr)
    if len(data.left_out) > NAMED:
        print(f"left out: {len(data.left_out) - NAMED} malformed trees more", file=sys.stderr)
    for reason, count in data.skipped.items():
        print(f"left out: {count} trees: {reason}", file=sys.stderr)
