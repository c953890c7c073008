"""Acceptable and unacceptable sentences.

Each construction makes a sentence, or the same with one rule of English broken. Both kinds have the same
words in the same numbers wherever the rule allows, so that counting words hardly tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable

from .dice import Dice
from .english import NEED_OBJECT, NO_OBJECT, TRANSITIVE, plural, sentence
from .words import Words

NEAR = ("near", "behind", "with", "next to")
LOOKS = ("old", "new", "small", "heavy", "red", "black", "strange", "expensive")
TRAITS = ("tired", "young", "quiet", "friendly", "nervous", "clever", "honest", "busy")
WHEN = ("yesterday", "last week", "in the morning", "on Monday", "after the party", "before lunch")
BE = (("is", "are"), ("was", "were"), ("has been", "have been"))
SMALL_WORDS = ("the", "at", "near", "in", "after", "before")


def _plain(d: Dice, w: Words) -> tuple[list[str], int]:
    """The words of a sound sentence, and the place of one that it cannot do without."""
    who = d.pick((f"the {d.pick(w.people)}", f"the {d.pick(TRAITS)} {d.pick(w.people)}", d.pick(w.names)))
    where = f"{d.pick(('at', 'near'))} the {d.pick(w.places)}"
    what = d.pick((f"the {d.pick(w.things)}", f"the {d.pick(LOOKS)} {d.pick(w.things)}"))
    words = f"{who} {d.pick(TRANSITIVE).past} {what} {where} {d.pick(WHEN)}".split()
    return words, d.pick([at for at, word in enumerate(words) if word in SMALL_WORDS])


def _order(d: Dice, w: Words, ok: bool) -> str:
    words, at = _plain(d, w)
    if not ok:
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def _missing_or_twice(d: Dice, w: Words, ok: bool) -> str:
    words, at = _plain(d, w)
    if not ok:
        words[at : at + 1] = d.pick(([], [words[at], words[at]]))
    return " ".join(words)


def _agreement(d: Dice, w: Words, ok: bool) -> str:
    subject, nearby = d.some(w.people, 2)
    many = d.chance()
    who = f"the {plural(subject) if many else subject}"
    if d.chance(0.6):
        who += f" {d.pick(NEAR)} the {nearby if many else plural(nearby)}"
    return f"{who} {d.pick(BE)[many == ok]} {d.pick(TRAITS)} at the {d.pick(w.places)}"


def _verb_form(d: Dice, w: Words, ok: bool) -> str:
    verb = d.pick(TRANSITIVE)
    forms = {
        "has": verb.participle,
        "had": verb.participle,
        "did not": verb.base,
        "can": verb.base,
        "will": verb.base,
        "was": verb.ing,
        "is": verb.ing,
    }
    auxiliary = d.pick(tuple(forms))
    right = forms[auxiliary]
    form = right if ok else d.other(sorted({verb.base, verb.past, verb.participle, verb.ing}), right)
    return f"{d.pick(w.names)} {auxiliary} {form} the {d.pick(w.things)} at the {d.pick(w.places)}"


def _object(d: Dice, w: Words, ok: bool) -> str:
    needs = d.chance()
    thing = f" the {d.pick(w.things)}" if needs == ok else ""
    verb = d.pick(NEED_OBJECT if needs else NO_OBJECT)
    return f"the {d.pick(TRAITS)} {d.pick(w.people)} {verb}{thing} at the {d.pick(w.places)} {d.pick(WHEN)}"


def _gap(d: Dice, w: Words, ok: bool) -> str:
    thing, verb, who = d.pick(w.things), d.pick(NEED_OBJECT), d.pick(w.names)
    place, look = d.pick(w.places), d.pick(LOOKS)
    relative = d.chance()
    it = "" if relative == ok else " it"
    if relative:
        return f"the {thing} that {who} {verb}{it} at the {place} is {look}"
    return f"that {thing} is {look}, but {who} {verb}{it} at the {place}"


def _question(d: Dice, w: Words, ok: bool) -> str:
    verb, who, thing = d.pick(TRANSITIVE), d.pick(w.people), d.pick(w.things)
    direct = d.chance()
    clause = f"did the {who} {verb.base}" if direct == ok else f"the {who} {verb.past}"
    clause = f"which {thing} {clause} {d.pick(WHEN)}"
    return f"{clause}?" if direct else f"{d.pick(w.names)} asked {clause}"


def _pair(d: Dice, w: Words, ok: bool) -> str:
    pairs = {"both": "and", "either": "or", "neither": "nor"}
    first = d.pick(tuple(pairs))
    second = pairs[first] if ok else d.other(tuple(pairs.values()), pairs[first])
    one, two = d.some(w.people, 2)
    return f"{d.pick(w.names)} {d.pick(TRANSITIVE).past} {first} the {one} {second} the {two} {d.pick(WHEN)}"


def _polarity(d: Dice, w: Words, ok: bool) -> str:
    start = d.pick(("no", "hardly any") if ok else ("some", "almost every"))
    things = plural(d.pick(w.things))
    return f"{start} {d.pick(w.people)} has ever {d.pick(TRANSITIVE).participle} any {things}"


# those named twice are made twice as often
CONSTRUCTIONS: tuple[Callable[[Dice, Words, bool], str], ...] = (
    *(_order, _order, _missing_or_twice, _agreement, _verb_form, _object),
    *(_gap, _question, _pair, _polarity),
)


def cola(d: Dice, w: Words) -> tuple[tuple[str], int]:
    """A sentence, and 1 where it is acceptable."""
    ok = d.chance(0.55)
    return (sentence(d.pick(CONSTRUCTIONS)(d, w, ok)),), int(ok)
