"""A report as LaTeX: an article with a float for every table and figure; every text as it is meant."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2

from ..table import Chapter, Figure, Section, Table

WIDEST = 124  # characters that stand in a line of a table
TALLEST = 48  # lines of a table's body that stand on a page
LONGEST = 40  # characters in a row, after which a line may break anywhere
JOINT, BREAK = "\u2060", "\u200b"
COMMANDS = {
    **{"~": "asciitilde", "^": "asciicircum", "\\": "backslash", "<": "less", ">": "greater", "|": "bar"},
    **{'"': "quotedbl", "`": "asciigrave", "−": "minus", "±": "pm", "×": "times", "·": "periodcentered"},
    **{"†": "dagger", "‡": "daggerdbl", "°": "degree", "•": "bullet", "←": "leftarrow", "→": "rightarrow"},
}
MATHS = {
    **{"≤": "leq", "≥": "geq", "≈": "approx", "≠": "neq", "∞": "infty", "∂": "partial", "α": "alpha"},
    **{"β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "λ": "lambda", "μ": "mu", "µ": "mu"},
    **{"ρ": "rho", "σ": "sigma", "τ": "tau", "Δ": "Delta", "Σ": "Sigma"},
}
AS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"\\text{name}{{}}" for character, name in COMMANDS.items()},
    **{character: f"$\\{name}$" for character, name in MATHS.items()},
    **{character: f"\\textsuperscript{{{place}}}" for place, character in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{"[": "{[}", "*": "{*}"},  # after \\ they would begin an argument
    **{JOINT: "{}", BREAK: r"\allowbreak{}", "–": "--", "—": "---", "§": r"\S{}", "…": r"\ldots{}"},
    **{"‘": "`", "’": "'", "“": "``", "”": "''"},
}
AS_IT_IS = re.compile(r"[ !-~À-ÖØ-öø-ÿ]")  # ASCII and the letters of Latin-1


def latex(text: str) -> str:
    """Returns a text in one line; a character that no font here has is named by its number."""
    text = " ".join(text.split())
    text = re.sub(r"(?<![\w.-])-(?=\d)", "−", text)
    text = re.sub(r"([-,'])(?=\1)", rf"\1{JOINT}", text)  # else two would become one sign
    return "".join(AS.get(c) or (c if AS_IT_IS.fullmatch(c) else f"{{[}}U+{ord(c):04X}]") for c in text)


def running(text: str) -> str:
    """Returns a text that may be broken into lines, a long path or hash too."""
    return latex(re.sub(rf"(\S{{{LONGEST}}})(?=\S)", rf"\1{BREAK}", text))


def to_latex(chapters: Sequence[Chapter], notes: Sequence[str], folder: Path) -> str:
    """Returns the text of a file in `folder`, from where its pictures are found."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # of LaTeX: every text goes through `latex` or `running`
    )

    def picture(figure: Figure) -> str:
        """The command that includes a picture; in its path no character is a command."""
        path = Path(os.path.relpath(figure.path.resolve(), folder.resolve())).as_posix()
        size = r"width=0.85\linewidth,height=0.8\textheight,keepaspectratio"
        plain = "".join(rf"\catcode{ord(sign)}=12 " for sign in "%#~^$&" if sign in path)
        return rf"{{{plain}\includegraphics[{size}]{{{path}}}}}"

    filters = {"latex": latex, "running": running, "picture": picture, "pieces": pieces}
    environment.filters |= filters
    return environment.get_template("report.tex.j2").render(chapters=chapters, notes=notes)


def pieces(section: Section) -> list[Table]:
    """Returns the tables of a section, in pieces that fit on a page, each with its labels."""
    return [
        block.select(range(first, min(first + TALLEST, len(block.rows))))
        for table in section.tables
        for block in table.blocks(WIDEST)
        for first in range(0, max(1, len(block.rows)), TALLEST)
    ]
