"""Which blocks of a model are meant by "all", "every:3" or "0-3,8"."""

from __future__ import annotations

import re
from collections.abc import Collection

WORDS = 'all, every:3 (blocks 0, 3, 6, ...) or numbers such as "0-3,8"'


def choose_blocks(words: str, count: int) -> tuple[int, ...]:
    """The numbers of the chosen blocks, ascending.

    Args:
        words: "all"; "every:n", the blocks whose number divides by n; or numbers and ranges between commas.
        count: blocks of the model; they are numbered from 0.

    Raises:
        ValueError: none of these, or a block that is not there or given twice.
    """
    if words == "all":
        return tuple(range(count))
    every = re.fullmatch(r"every:([1-9]\d*)", words)
    if every:
        return tuple(range(0, count, int(every[1])))
    chosen: list[int] = []
    for part in words.split(","):
        span = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if span is None:
            raise ValueError(f"blocks are chosen by {WORDS}, not by {words!r}")
        first, last = int(span[1]), int(span[2] or span[1])
        if last < first:
            raise ValueError(f"a range of blocks goes up, as {last}-{first}; got {part.strip()}")
        check_blocks((last,), count)
        chosen += range(first, last + 1)
    twice = sorted({block for block in chosen if chosen.count(block) > 1})
    if twice:
        raise ValueError(f"block {twice[0]} is given twice in {words!r}")
    return tuple(sorted(chosen))


def check_blocks(blocks: Collection[int], count: int) -> None:
    """Refuses block numbers that a model of `count` blocks has not.

    Raises:
        ValueError: there are some, or no number at all.
    """
    if not blocks:
        raise ValueError("no block is chosen")
    wrong = [block for block in blocks if not 0 <= block < count]
    if wrong:
        raise ValueError(f"there is no block {wrong[0]}: the model has {count}, numbered 0 to {count - 1}")
