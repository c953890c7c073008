"""A document as LaTeX: an article with a float for every table and figure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..document import Document
from ..layout import Part, blocks, filled_rows
from ..section import Figure, Section
from .latex_text import latex, running

WIDEST = 124  # characters that stand in a line of a table
TALLEST = 48  # lines of a table's body that stand on a page
BEGIN = r"""\documentclass[a4paper,10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{textcomp}
\usepackage[margin=20mm]{geometry}
\usepackage{booktabs,float,graphicx}
\usepackage[hidelinks]{hyperref}
\setcounter{tocdepth}{2}
\setlength{\parindent}{0pt}
\setlength{\parskip}{3pt}
\setlength{\tabcolsep}{4pt}
\setlength{\belowcaptionskip}{4pt}
% a table that is wider than the page is made smaller
\newsavebox{\grid}
\newcommand{\fitted}{\ifdim\wd\grid>\linewidth\resizebox{\linewidth}{!}{\usebox{\grid}}\else\usebox{\grid}\fi}
\begin{document}
\raggedright
\tableofcontents
"""


def to_latex(document: Document, folder: Path) -> str:
    """The text of a file in `folder`, from where its pictures are found."""
    lines = [BEGIN]
    for chapter in document.chapters:
        lines += [rf"\section{{{running(chapter.title)}}}", ""]
        for section in chapter.sections:
            lines += [*_section(section, folder), ""]
    lines += [f"{running(note)}\n" for note in document.notes]
    return "\n".join([*lines, r"\end{document}", ""])


def _section(shown: Section, folder: Path) -> Iterator[str]:
    title = running(shown.title)
    yield rf"\subsection{{{title}}}"
    pieces = [piece for parts in shown.grids for piece in _pieces(parts)]
    for place, parts in enumerate(pieces, 1):
        yield from _table(parts, f"{title} ({place} of {len(pieces)})" if len(pieces) > 1 else title)
    for figure in shown.figures:
        yield from _figure(figure, folder)
    yield from (f"{running(note)}\n" for note in shown.notes)
    yield r"{\footnotesize\parskip=0pt"
    yield from (rf"\textbf{{{running(name)}}} {running(text)}" + "\n" for name, text in shown.caption.items())
    yield "}"


def _pieces(parts: list[Part]) -> Iterator[list[Part]]:
    """Parts of a table that fit on a page, each with its labels."""
    labels, *others = parts
    for block in blocks(others, WIDEST - labels.width):
        filled = filled_rows([labels, *block])
        for rows in _pages([max(map(len, cells)) for cells in zip(*(p.cells for p in filled), strict=True)]):
            yield [replace(part, cells=part.cells[rows], joined=part.joined[rows]) for part in filled]


def _pages(heights: Sequence[int]) -> Iterator[slice]:
    """Of rows so many lines high, those that stand on a page together."""
    first = lines = 0
    for row, height in enumerate(heights):
        if lines + height > TALLEST and row > first:
            yield slice(first, row)
            first, lines = row, 0
        lines += height
    yield slice(first, len(heights))


def _table(parts: Sequence[Part], title: str) -> Iterator[str]:
    labels, *others = parts
    columns = "l" + "".join("l" if part.left else "r" for part in others)
    heads = [[*part.head, *part.metrics, *part.notes] for part in parts]
    yield r"\begin{table}[H]\centering\footnotesize"
    yield rf"\caption{{{title}}}"
    yield rf"\begin{{lrbox}}{{\grid}}\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
    yield r"\toprule"
    yield from _lines(heads)
    yield r"\midrule"
    rows = list(zip(*(part.cells for part in parts), strict=True))
    apart = any(labels.joined) or any(len(cell) > 1 for cells in rows for cell in cells)
    for place, cells in enumerate(rows):
        if apart and place and not (labels.joined and labels.joined[place]):
            yield r"\addlinespace"
        yield from _lines(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}\end{lrbox}\fitted"
    yield r"\end{table}"


def _lines(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """One row, whose texts may have several lines."""
    for line in range(max(map(len, cells))):
        yield " & ".join(latex(cell[line]) if line < len(cell) else "" for cell in cells) + r" \\"


def _figure(figure: Figure, folder: Path) -> Iterator[str]:
    path = Path(os.path.relpath(figure.path.resolve(), folder.resolve())).as_posix()
    yield r"\begin{figure}[H]\centering"
    size = r"width=0.85\linewidth,height=0.8\textheight,keepaspectratio"
    plain = "".join(rf"\catcode{ord(sign)}=12 " for sign in "%#~^$&" if sign in path)  # no commands here
    yield rf"{{{plain}\includegraphics[{size}]{{{path}}}}}"
    yield rf"\caption{{{running(figure.words)}}}"
    yield r"\end{figure}"
