"""What the figures of recorded gradients share: the two spaces, kinds and blocks, words."""

from __future__ import annotations

from matplotlib.lines import Line2D

from ...gradients.folder import Gradients
from ...gradients.schema import Place
from ..bench.caption import short_name
from .style import DARK, DASHES

ORIGINAL, BASIS = "#c1651a", "#1f6fb2"
SPACES = {"original space, G": ORIGINAL, "new space, G~": BASIS}
BLOCKS = ("#440154", "#21918c", "#b5a000")  # first, middle, last


def subject(shown: Gradients) -> str:
    """Model, task and method of a recording."""
    run = shown.config.run
    return f"{short_name(run.model)} on {run.task}, {run.method}"


def kinds(shown: Gradients) -> list[str]:
    """The two kinds of MLP linear, the wider output first: as data passes through a block."""
    shapes = {place.kind: place.shape for place in shown.result.places}
    return sorted(shapes, key=lambda kind: -shapes[kind][0])


def blocks(shown: Gradients) -> list[int]:
    """First, middle, last; fewer of a model that has fewer."""
    return sorted({place.block for place in shown.result.places})


def middle(shown: Gradients) -> int:
    """The block that is shown where there is room for one."""
    found = blocks(shown)
    return found[len(found) // 2]


def steps(shown: Gradients) -> list[int]:
    """The recorded ones."""
    return sorted(shown.result.losses)


def series(shown: Gradients, block: int, kind: str) -> list[Place]:
    """One linear, step by step."""
    found = [place for place in shown.result.places if (place.block, place.kind) == (block, kind)]
    return sorted(found, key=lambda place: place.step)


def block_handles(shown: Gradients, coloured: bool = True) -> list[Line2D]:
    """A legend entry for each block: its dashes, and its colour where it has one."""
    looks = zip(blocks(shown), BLOCKS if coloured else [DARK] * len(BLOCKS), DASHES, strict=False)
    return [Line2D([], [], label=f"block {b}", color=colour, linestyle=dashes) for b, colour, dashes in looks]


def space_handles() -> list[Line2D]:
    return [Line2D([], [], color=colour, label=words) for words, colour in SPACES.items()]
