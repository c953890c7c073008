"""A document with all that is hard to draw: odd characters, wide and tall tables, long words, figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import image

from sparsegrad_cli.report.document import Chapter, Document
from sparsegrad_cli.report.layout import Part
from sparsegrad_cli.report.section import Figure, Section

SPECIAL = (
    "& % $ # _ { } ~ ^ \\ † ± × – — ° ² → ≤ µ σ ? ?` -- --- ,, '' `` << \" <b> | [x] * é ß ł 中 \U0001f600"
)
SCORES = ["9.0 ± 1.0", "10.5", "–", "1.2k", "-3.0", "70.8k (1.0%)"]


def part(head: str, *texts: str, **how: list[bool] | bool) -> Part:
    return Part([head], [[text] for text in texts], **how)


def hard_document(folder: Path) -> Document:
    """Its figure lies in `folder`, under a name that no format likes."""
    picture = folder / "50% of #1_a~b $^& c.png"
    image.imsave(picture, np.zeros((20, 30)))
    rows = [f"row {number}" for number in range(130)]
    wide = [Part([f"task {n}"], [["81.0 ± 1.0", "79.5 ± 2.0"]] * 2, ["accuracy", "F1"]) for n in range(14)]
    pairs = part("method", "ft", "ft, paper", "lora", "lora, paper", joined=[False, True, False, True])
    sections = [
        Section("sorted by number", [[part("method", *"fedcba"), part("score", *SCORES)]], [], {}),
        Section("pairs", [[pairs, part("score", "2.0", "9.0", "1.0", "8.0")]], [], {}),
        Section(
            SPECIAL,
            [[part("label", SPECIAL), part(SPECIAL, SPECIAL), part("words", SPECIAL, left=True)]],
            [SPECIAL, f"/a/very/{'long/' * 40}path and a hash {'0123456789abcdef' * 12}"],
            {SPECIAL: SPECIAL},
            [Figure(SPECIAL, picture)],
        ),
        Section("wide", [[Part(["method"], [["ft"], ["lora", "rank 16"]]), *wide]], [], {}),
        Section("tall", [[part("trial", *rows), part("state", *["complete"] * 130, left=True)]], [], {}),
    ]
    return Document([Chapter("Results & more", sections)], ["left out: 100% of 3_000"], ())
