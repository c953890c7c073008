"""How English inflects, and closed lists of its verbs."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """The five forms of a verb."""

    base: str
    third: str
    past: str
    participle: str
    ing: str


def _verb(line: str) -> Verb:
    base, past, participle, *ing = line.split()
    third = base + ("es" if base.endswith(("sh", "ch", "s", "o")) else "s")
    return Verb(base, third, past, participle, ing[0] if ing else base.removesuffix("e") + "ing")


TRANSITIVE = tuple(
    _verb(line)
    for line in (
        "break broke broken",
        "choose chose chosen",
        "draw drew drawn",
        "forget forgot forgotten forgetting",
        "steal stole stolen",
        "take took taken",
        "hide hid hidden",
        "see saw seen seeing",
        "buy bought bought",
        "sell sold sold",
        "find found found",
        "lose lost lost",
        "bring brought brought",
        "paint painted painted",
        "borrow borrowed borrowed",
        "clean cleaned cleaned",
        "admire admired admired",
        "describe described described",
        "repair repaired repaired",
        "move moved moved",
        "destroy destroyed destroyed",
        "want wanted wanted",
    )
)

NEED_OBJECT = ("repaired", "borrowed", "destroyed", "admired", "took", "found", "described", "bought")
NO_OBJECT = ("slept", "arrived", "laughed", "waited", "smiled", "disappeared", "coughed", "fell", "cried")


def plural(noun: str) -> str:
    """The plural of a noun of `words`."""
    if noun.endswith("man"):
        return noun[:-2] + "en"
    if noun in ("knife",):
        return "knives"
    if noun.endswith(("ch", "sh", "x", "s")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def a(phrase: str) -> str:
    """The phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def sentence(text: str) -> str:
    """The text with a capital letter, and a full stop where it is no question."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"
