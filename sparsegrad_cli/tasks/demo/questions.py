"""Questions that people ask on the web, twice the same or not."""

from __future__ import annotations

from .dice import Dice
from .english import sentence
from .words import Words

# ways to ask one thing about one activity
INTENTS = (
    ("how do I {}", "what is the best way to {}", "what should I do to {}", "can anyone explain how to {}"),
    ("how long does it take to {}", "how much time do I need to {}", "how many hours will I need to {}"),
    ("how much does it cost to {}", "what is the price if I want to {}", "how much money do I need to {}"),
    ("why do so many people {}", "what makes people {}", "for what reason do people {}"),
    ("is it dangerous to {}", "what are the risks if I {}", "can I get hurt if I {}"),
    ("which tools do I need to {}", "what equipment is necessary to {}", "what do I have to buy to {}"),
    ("where can I {}", "which is a good place to {}", "does anyone know a place where I can {}"),
    ("is it hard for a beginner to {}", "can someone without experience {}", "how difficult is it to {}"),
)
ASIDES = ("", "", "", " at home", " in winter", " without help", " on my own", " these days")


def qqp(d: Dice, w: Words) -> tuple[tuple[str, str], int]:
    """Two questions, and 1 where they ask for the same."""
    same = d.chance(0.45)
    intent = d.pick(INTENTS)
    one, two = d.some(d.pick(w.activities), 2)  # two ways to say it
    if same:
        first, second = d.some(intent, 2)
    elif d.chance(0.6):
        first, second = d.pick(intent), d.pick(d.other(INTENTS, intent))
    else:
        first, second = d.pick(intent), d.pick(intent)
        two = d.pick(d.pick([pair for pair in w.activities if one not in pair]))
    aside = d.pick(ASIDES)
    return (sentence(f"{first.format(one)}{aside}?"), sentence(f"{second.format(two)}{aside}?")), int(same)
