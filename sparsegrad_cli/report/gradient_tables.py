"""A recording of gradients as a section: the paper's Figures 2 and 3, of our gradients, in words."""

from __future__ import annotations

from collections.abc import Sequence

from ..gradients.schema import Gradients, Place
from .caption import (
    gradients_caption,
)
from .table import (
    Figure,
    Section,
    listed,
    percent,
    short_model,
)


def gradients_section(shown: Gradients, figures: Sequence[Figure]) -> Section:
    """Returns the section of a recording: the paper's Figures 2 and 3, of our gradients."""
    block, kinds = middle_block(shown), linear_kinds(shown)
    words = []
    for kind in kinds:
        first, last = series(shown, block, kind)[0], series(shown, block, kind)[-1]
        at = listed(
            [
                f"{percent(place.energy_original)} in the original space and {percent(place.energy_rotated)} "
                f"in the new one at step {place.step}"
                for place in dict.fromkeys((first, last))
            ]
        )
        words.append(f"{kind} {at}")
    return Section(
        title=f"Gradients: {gradients_subject(shown)}",
        sentence=f"Share of the energy that the largest 1% of a gradient's entries hold, in block {block}: "
        f"{'; '.join(words)}.",
        notes=[_zero_rows(shown)],
        caption=gradients_caption(shown),
        figures=figures,
    )


def _zero_rows(shown: Gradients) -> str:
    kind = linear_kinds(shown)[0]
    words = []
    for block in recorded_blocks(shown):
        place = series(shown, block, kind)[0]
        small = place.live_rows[0] - place.live_rows[1]
        tiny = f" ({small} more tiny)" if small else ""
        words.append(f"{place.rows - place.live_rows[0]} in block {block}{tiny}")
    return (
        f"Rows of dL/dY that are exactly zero at step {place.step}, of {place.rows} in the batch "
        f"({place.padding} of them padding), {kind}: {', '.join(words)}."
    )


def gradients_subject(shown: Gradients) -> str:
    """Returns model, task and method of a recording."""
    run = shown.config.run
    return f"{short_model(run.model)} on {run.task}, {run.method}"


def linear_kinds(shown: Gradients) -> list[str]:
    """Returns the two kinds of MLP linear, the wider output first: as data passes through a block."""
    shapes = {place.kind: place.shape for place in shown.result.places}
    return sorted(shapes, key=lambda kind: -shapes[kind][0])


def recorded_blocks(shown: Gradients) -> list[int]:
    """Returns the first, middle and last block; fewer of a model that has fewer."""
    return sorted({place.block for place in shown.result.places})


def middle_block(shown: Gradients) -> int:
    """Returns the block that is shown where there is room for one."""
    found = recorded_blocks(shown)
    return found[len(found) // 2]


def recorded_steps(shown: Gradients) -> list[int]:
    return sorted(shown.result.losses)


def series(shown: Gradients, block: int, kind: str) -> list[Place]:
    """Returns the records of one linear, step by step."""
    found = [place for place in shown.result.places if (place.block, place.kind) == (block, kind)]
    return sorted(found, key=lambda place: place.step)
