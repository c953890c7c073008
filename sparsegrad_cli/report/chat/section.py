"""Tables of chat runs as sections: what was trained, losses, ratings, costs; and what is significant."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ...store.records import LOSS
from ..layout import Part
from ..numbers import DASH, amount_and_share, megabytes, speed
from ..scale import NATS, RATINGS
from ..section import Section
from ..significance.words import significance_section
from ..table import Row, Spread
from ..table_section import label_lines
from .table import ChatTable, Judge, Judged

BEFORE = "not trained"
LEGEND = (
    "trained: parameters that a step may move, and their share of all; touched: entries of the adapted MLP "
    "linears (lora: of its A and B) moved at least once in a run, and their share of those linears"
)
SEQUENCES = "packed sequences, each counting by its tokens"


def chat_sections(made: ChatTable) -> Iterator[Section]:
    """The table, with a grid of each judge's ratings, and what is significant in it."""
    ratings = [_rating_parts(made, judge) for judge in made.judges]
    caption = {**made.table.caption, "legend": LEGEND}
    yield Section(made.table.title, [_table_parts(made), *ratings], list(made.table.reading), caption)
    if made.significance:
        found = significance_section(made.significance, NATS)
        yield replace(found, caption={**found.caption, "examples": SEQUENCES})


def _table_parts(made: ChatTable) -> list[Part]:
    rows, count = made.table.rows, not made.table.same_seeds
    costs = [row.cost for row in rows]
    trained = zip([cost.trainable for cost in costs], made.trained_shares, strict=True)
    before = made.before
    columns = {
        "method": [[BEFORE], *map(label_lines, rows)],
        "trained": [["0"], *([amount_and_share(*of_row)] for of_row in trained)],
        "touched": [["0"], *([amount_and_share(cost.touched, cost.touched_share)] for cost in costs)],
        "validation\nloss": [
            [DASH if before is None else NATS.number(before)],
            *([NATS.words(_spread(row, LOSS), count)] for row in rows),
        ],
        "perplexity": [
            [DASH if before is None else f"{math.exp(before):.2f}"],
            *([_perplexity(_spread(row, "perplexity"))] for row in rows),
        ],
        **{
            f"rated by\n{judge.name}": [
                _judged(judge.before, 1),
                *(_judged(found, row.cost.runs) for found, row in zip(judge.rows, rows, strict=True)),
            ]
            for judge in made.judges
        },
        "steps/s": [[DASH], *([speed(cost.steps_per_second)] for cost in costs)],
        "peak\nMB": [[DASH], *([megabytes(cost.peak_memory_bytes)] for cost in costs)],
    }
    start = 0 if _knows_the_start(made) else 1
    return [Part(head.split("\n"), cells[start:]) for head, cells in columns.items()]


def _rating_parts(made: ChatTable, judge: Judge) -> list[Part]:
    """Means by turn and category, a row for each that was judged."""
    labels = [[BEFORE], *map(label_lines, made.table.rows)]
    pairs = zip(labels, (judge.before, *judge.rows), strict=True)
    judged = [(label, found) for label, found in pairs if found]
    of_rows = [
        {**{f"turn {turn}": mean for turn, mean in found.turns.items()}, **found.categories}
        for _, found in judged
    ]
    heads = dict.fromkeys(name for means in of_rows for name in means)
    return [
        Part([f"rated by {judge.name}"], [label for label, _ in judged]),
        *(Part([head], [[_mean(means.get(head))] for means in of_rows]) for head in heads),
        Part(["unrated"], [[f"{found.unrated} of {found.rated + found.unrated}"] for _, found in judged]),
    ]


def _knows_the_start(made: ChatTable) -> bool:
    """Whether anything is known of the checkpoint that the runs start from."""
    return made.before is not None or any(judge.before for judge in made.judges)


def _spread(row: Row, metric: str) -> Spread | None:
    return row.cells[0].scores.get(metric) if row.cells[0] else None


def _perplexity(spread: Spread | None) -> str:
    return DASH if spread is None else f"{spread.mean:.2f}"


def _judged(judged: Judged | None, runs: int) -> list[str]:
    """The mean over the runs; of fewer than the row has, how many."""
    if judged is None:
        return [DASH]
    return [RATINGS.words(judged.score, count=judged.score.n != runs)]


def _mean(value: float | None) -> str:
    return DASH if value is None else RATINGS.number(value)
