"""Texts for LaTeX: every character as it is meant, whatever it is."""

from __future__ import annotations

import re

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
    """In one line; what no font here has is named by its number."""
    text = " ".join(text.split())
    text = re.sub(r"(?<![\w.-])-(?=\d)", "−", text)
    text = re.sub(r"([-,'])(?=\1)", rf"\1{JOINT}", text)  # else two would become one sign
    return "".join(map(_character, text))


def running(text: str) -> str:
    """The same where lines break: a path or a hash that is long breaks too."""
    return latex(re.sub(rf"(\S{{{LONGEST}}})(?=\S)", rf"\1{BREAK}", text))


def _character(character: str) -> str:
    if character in AS:
        return AS[character]
    return character if AS_IT_IS.fullmatch(character) else f"{{[}}U+{ord(character):04X}]"
