"""Pictures of everyday life, graded by how much two of them have in common."""

from __future__ import annotations

from .dice import Dice
from .english import a, sentence
from .words import Words

# ways to say one action
ACTIONS = (
    ("is carrying", "carries"),
    ("is painting", "paints"),
    ("is cleaning", "is wiping"),
    ("is repairing", "is fixing"),
    ("is looking at", "is watching"),
    ("is holding", "has in hand"),
    ("is buying", "is paying for"),
    ("is throwing away", "is getting rid of"),
    ("is searching for", "is looking for"),
    ("is wrapping", "is packing"),
    ("is hiding", "is covering up"),
    ("is drawing", "is sketching"),
)
WEIGHTS = (1.2, 1.5, 1.4, 0.6)  # of who, does, what and where in the score
COLORS = ("red", "blue", "green", "black", "white", "yellow", "brown", "small", "large", "old", "broken")


def _scene(d: Dice, who: str, action: tuple[str, ...], what: str, place: str) -> str:
    where = f"{d.pick(('near', 'beside', 'not far from'))} the {place}"
    text = f"{a(who)} {d.pick(action)} {a(what)}"
    return d.pick((f"{text} {where}", f"{text} {where}", f"{where}, {text}"))


def stsb(d: Dice, w: Words) -> tuple[tuple[str, str], float]:
    """Two scenes and how alike they are, from 0 to 5."""
    people, things, places = d.some(w.people, 2), d.some(w.things, 2), d.some(w.places, 2)
    actions, color = d.some(ACTIONS, 2), d.pick(COLORS)
    changed = d.pick((0, 0, 1, 1, 2, 2, 3, 4))
    parts = set(d.some(range(4), changed))
    first = (people[0], actions[0], f"{color} {things[0]}", places[0])
    other = (people[1], actions[1], f"{d.pick(COLORS)} {things[1]}", places[1])
    second = [new if i in parts else old for i, (old, new) in enumerate(zip(first, other, strict=True))]
    lost = sum(WEIGHTS[i] for i in parts)
    score = min(5.0, max(0.0, 5 - lost * 5 / sum(WEIGHTS) - 0.2 + d.noise(0.4)))
    return (sentence(_scene(d, *first)), sentence(_scene(d, *second))), round(score * 5) / 5
