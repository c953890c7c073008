"""A report as LaTeX: an article with a float for every table and figure; every text as it is meant."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2

from ..table import Chapter, Figure, Section, Table

WIDEST = 124  # characters that stand in a line of a table
TALLEST = 48  # lines of a table's body that stand on a page
LONGEST = 40  # characters in a row, after which a line may break anywhere
JOINT, BREAK = "\u2060", "\u200b"
AS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after \\ it would begin an argument, as * would
    "*": "{*}",
    JOINT: "{}",
    BREAK: r"\allowbreak{}",
    "–": "--",
    "—": "---",
    "−": r"\textminus{}",
    "±": r"\textpm{}",
    "×": r"\texttimes{}",
    "·": r"\textperiodcentered{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\S{}",
    "°": r"\textdegree{}",
    "…": r"\ldots{}",
    "•": r"\textbullet{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "←": r"\textleftarrow{}",
    "→": r"\textrightarrow{}",
    **{character: f"\\textsuperscript{{{place}}}" for place, character in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{
        character: f"$\\{name}$"
        for character, name in {
            **{"≤": "leq", "≥": "geq", "≈": "approx", "≠": "neq", "∞": "infty", "∂": "partial"},
            **{"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "λ": "lambda"},
            **{"μ": "mu", "µ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau", "Δ": "Delta", "Σ": "Sigma"},
        }.items()
    },
}
AS_IT_IS = re.compile(r"[ !-~À-ÖØ-öø-ÿ]")  # ASCII and the letters of Latin-1


def latex(text: str) -> str:
    """Returns a text in one line; a character that no font here has is named by its number."""
    text = " ".join(text.split())
    text = re.sub(r"(?<![\w.-])-(?=\d)", "−", text)
    text = re.sub(r"([-,'])(?=\1)", rf"\1{JOINT}", text)  # else two would become one sign
    return "".join(map(_character, text))


def running(text: str) -> str:
    """Returns a text that may be broken into lines, a long path or hash too."""
    return latex(re.sub(rf"(\S{{{LONGEST}}})(?=\S)", rf"\1{BREAK}", text))


def _character(character: str) -> str:
    if character in AS:
        return AS[character]
    return character if AS_IT_IS.fullmatch(character) else f"{{[}}U+{ord(character):04X}]"


def to_latex(chapters: Sequence[Chapter], notes: Sequence[str], folder: Path) -> str:
    """Returns the text of a file in `folder`, from where its pictures are found."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # of LaTeX: every text goes through `running`
    )
    environment.filters |= {"running": running, "picture": lambda figure: _picture(figure, folder)}
    environment.filters |= {"floats": lambda section: "\n".join(_floats(section))}
    return environment.get_template("report.tex.j2").render(chapters=chapters, notes=notes)


def _floats(section: Section) -> Iterator[str]:
    """The tables of a section, in pieces that fit on a page, each with its labels."""
    pieces = [
        block.select(rows)
        for table in section.tables
        for block in table.blocks(WIDEST)
        for rows in _pages(len(block.rows))
    ]
    title = running(section.title)
    for place, piece in enumerate(pieces, 1):
        yield from _table(piece, f"{title} ({place} of {len(pieces)})" if len(pieces) > 1 else title)


def _pages(rows: int) -> list[range]:
    return [range(first, min(first + TALLEST, rows)) for first in range(0, rows, TALLEST)] or [range(0)]


def _table(table: Table, title: str) -> Iterator[str]:
    sides = "".join("l" if place == 0 or c.left else "r" for place, c in enumerate(table.columns))
    heads = [column.head_lines for column in table.columns]
    yield r"\begin{table}[H]\centering\footnotesize"
    yield rf"\caption{{{title}}}"
    yield rf"\begin{{lrbox}}{{\grid}}\begin{{tabular}}{{@{{}}{sides}@{{}}}}"
    yield r"\toprule"
    for line in range(max(map(len, heads))):
        yield " & ".join(latex(head[line]) if line < len(head) else "" for head in heads) + r" \\"
    yield r"\midrule"
    for place, row in enumerate(table.rows):
        if any(table.joined) and place and not table.is_joined(place):
            yield r"\addlinespace"
        yield " & ".join(map(latex, row)) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}\end{lrbox}\fitted"
    yield r"\end{table}"


def _picture(figure: Figure, folder: Path) -> str:
    """The command that includes a picture; in its path no character is a command."""
    path = Path(os.path.relpath(figure.path.resolve(), folder.resolve())).as_posix()
    size = r"width=0.85\linewidth,height=0.8\textheight,keepaspectratio"
    plain = "".join(rf"\catcode{ord(sign)}=12 " for sign in "%#~^$&" if sign in path)
    return rf"{{{plain}\includegraphics[{size}]{{{path}}}}}"
