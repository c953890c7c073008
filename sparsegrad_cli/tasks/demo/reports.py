"""Short news texts: pairs that tell the same or not, and questions about them."""

from __future__ import annotations

from dataclasses import replace

from .dice import Dice
from .english import sentence
from .news import DETAILS, changed, news
from .words import Words


def mrpc(d: Dice, w: Words) -> tuple[tuple[str, str], int]:
    """Two sentences, and 1 where they tell the same news."""
    item, same = news(d, w), d.chance(0.6)
    details = d.some(DETAILS, 2)
    again = details if d.chance(0.7) else d.some(details, 1)
    other = item if same else changed(d, w, item, d.some([*again, "who", "denied"], 1 if d.chance() else 2))
    return (sentence(item.tell(d, details)), sentence(other.tell(d, again))), int(same)


def qnli(d: Dice, w: Words) -> tuple[tuple[str, str], int]:
    """A question, a sentence, and 0 where the sentence answers it."""
    item, answered = replace(news(d, w), denied=False), d.chance()
    asked, *details = d.some(DETAILS, 3)
    told = item
    if answered:
        details[0] = asked
    elif d.chance(0.6):  # the same words of the question, about other news
        details[0], told = asked, replace(news(d, w), denied=False)
    return (sentence(f"{item.ask(asked)}?"), sentence(told.tell(d, details))), int(not answered)
