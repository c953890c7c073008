"""Chapters with all that is hard to draw: odd characters, wide and tall tables, long words, figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import image

from sparsegrad_cli.report.table import Chapter, Column, Figure, Section, Table

SPECIAL = (
    "& % $ # _ { } ~ ^ \\ † ± × – — ° ² → ≤ µ σ ? ?` -- --- ,, '' `` << \" <b> | [x](y) * é ß ł 中 \U0001f600"
)
SCORES = ["9.0 ± 1.0", "10.5", "–", "1.2k", "-3.0", "70.8k (1.0%)"]


def hard_chapters(folder: Path) -> list[Chapter]:
    """Their figure lies in `folder`, under a name that no format likes."""
    picture = folder / "50% of #1_a~b $^& c.png"
    image.imsave(picture, np.zeros((20, 30)))
    pairs = Table(
        [Column("method", ["ft", "paper", "lora", "paper"]), Column("score", ["2.0", "9.0", "1.0", "8.0"])],
        [False, True, False, True],
    )
    special = Table(
        [Column("label", [SPECIAL]), Column(SPECIAL, [SPECIAL], SPECIAL), Column("w", [SPECIAL], "", True)]
    )
    wide = [Column(f"task {n}\naccuracy", ["81.0 ± 1.0"] * 2) for n in range(14)]
    rows = [f"row {number}" for number in range(130)]
    sections = [
        Section(
            "sorted by number", tables=[Table([Column("method", list("fedcba")), Column("score", SCORES)])]
        ),
        Section("pairs", tables=[pairs]),
        Section(
            SPECIAL,
            SPECIAL,
            [special],
            [SPECIAL, f"/a/very/{'long/' * 40}path and a hash {'0123456789abcdef' * 12}"],
            {SPECIAL: SPECIAL},
            [Figure(SPECIAL, picture)],
        ),
        Section("wide", tables=[Table([Column("method", ["ft", "lora (rank 16)"]), *wide])]),
        Section(
            "tall", tables=[Table([Column("trial", rows), Column("state", ["complete"] * 130, "", True)])]
        ),
    ]
    return [Chapter("Results & more", sections, [SPECIAL])]
