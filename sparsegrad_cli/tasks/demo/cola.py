"""Acceptable and unacceptable sentences.

Each construction makes a sentence, or the same with one rule of English broken. Both kinds have the same words
in the same numbers wherever the rule allows, so that counting words does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable

from .dice import Dice
from .verbs import (
    ADJECTIVE_PREPOSITION,
    BARE_VERB,
    GRADABLE,
    ING_VERB,
    NEED_OBJECT,
    NO_OBJECT,
    ONE_OBJECT,
    TO_VERB,
    TRANSITIVE,
    TWO_OBJECTS,
    plural,
)
from .words import Words

NEAR = ("near", "behind", "with", "next to")
LOOKS = ("old", "new", "small", "heavy", "red", "black", "strange", "expensive")
TRAITS = ("tired", "young", "quiet", "friendly", "nervous", "clever", "honest", "busy")
WHEN = ("yesterday", "last week", "in the morning", "on Monday", "after the party", "before lunch")
ADVERBS = ("slowly", "quickly", "carefully", "secretly", "suddenly", "finally")
PREPOSITIONS = ("of", "in", "to", "for", "about", "with", "at", "on", "from")


def _noun(noun: str, many: bool) -> str:
    return plural(noun) if many else noun


def _agreement(d: Dice, w: Words, ok: bool) -> str:
    subject, nearby = d.some(w.people, 2)
    many = d.chance()
    forms = d.pick((("is", "are"), ("was", "were"), ("has been", "have been"), ("seems", "seem")))
    between = f"{d.pick(NEAR)} the {_noun(nearby, not many)}"
    if d.chance(0.4):
        between = f"that the {_noun(nearby, not many)} {d.pick(TRANSITIVE).past}"
    return f"the {_noun(subject, many)} {between} {forms[many == ok]} {d.pick(TRAITS)}"


def _present(d: Dice, w: Words, ok: bool) -> str:
    subject, nearby = d.some(w.people, 2)
    many, verb = d.chance(), d.pick(TRANSITIVE)
    form = verb.base if many == ok else verb.third
    who = f"the {_noun(subject, many)} {d.pick(NEAR)} the {_noun(nearby, not many)}"
    return f"{who} often {form} the {d.pick(LOOKS)} {d.pick(w.things)}"


def _auxiliary(d: Dice, w: Words, ok: bool) -> str:
    verb = d.pick(TRANSITIVE)
    auxiliary, right = d.pick(
        (
            ("has", verb.participle),
            ("had", verb.participle),
            ("did not", verb.base),
            ("can", verb.base),
            ("will", verb.base),
            ("was", verb.ing),
            ("is", verb.ing),
        )
    )
    forms = sorted({verb.base, verb.past, verb.participle, verb.ing})
    form = right if ok else d.other(forms, right)
    return f"{d.pick(w.names)} {auxiliary} {form} the {d.pick(w.things)} at the {d.pick(w.places)}"


def _complement(d: Dice, w: Words, ok: bool) -> str:
    verb = d.pick(TRANSITIVE)
    kind = d.pick(("to", "ing", "bare"))
    shape = kind if ok else d.other(("to", "ing"), kind)
    form = {"to": f"to {verb.base}", "ing": verb.ing, "bare": verb.base}[shape]
    if kind == "bare":
        head = f"{d.pick(('made', 'let') if shape == 'ing' else BARE_VERB)} the {d.pick(w.people)}"
    else:
        head = d.pick(TO_VERB if kind == "to" else ING_VERB)
    return f"{d.pick(w.names)} {head} {form} the {d.pick(w.things)} {d.pick(WHEN)}"


def _determiner(d: Dice, w: Words, ok: bool) -> str:
    word, many = d.pick(
        (
            *(("this", False), ("every", False), ("each", False), ("another", False), ("that", False)),
            *(("these", True), ("several", True), ("many", True), ("both", True), ("those", True)),
        )
    )
    noun = _noun(d.pick(w.things), many == ok)
    return f"the {d.pick(w.people)} {d.pick(TRANSITIVE).past} {word} {noun} {d.pick(WHEN)}"


def _reflexive(d: Dice, w: Words, ok: bool) -> str:
    one, two = d.pick(w.men), d.pick(w.women)
    man = d.chance()
    who, other = (one, two) if man else (two, one)
    pronoun = "himself" if man == ok else "herself"
    verb = d.pick(("hurt", "admired", "described", "blamed", "saw", "praised"))
    return f"{who} {verb} {pronoun} in the {d.pick(w.places)} because {other} {d.pick(NO_OBJECT)}"


def _gap(d: Dice, w: Words, ok: bool) -> str:
    thing, verb, who = d.pick(w.things), d.pick(TRANSITIVE).past, d.pick(w.names)
    place, look = d.pick(w.places), d.pick(LOOKS)
    relative = d.chance()
    it = "" if relative == ok else " it"
    if relative:
        return f"the {thing} that {who} {verb}{it} at the {place} is {look}"
    return f"that {thing} is {look}, but {who} {verb}{it} at the {place}"


def _question(d: Dice, w: Words, ok: bool) -> str:
    verb, who, thing = d.pick(TRANSITIVE), d.pick(w.people), d.pick(w.things)
    other, when = d.pick(w.names), d.pick(WHEN)
    direct = d.chance()
    if direct == ok:
        clause = f"which {thing} did the {who} {verb.base} {when}"
    else:
        clause = f"which {thing} the {who} {verb.past} {when}"
    return f"{clause}?" if direct else f"{other} asked {clause}"


def _object(d: Dice, w: Words, ok: bool) -> str:
    needs = d.chance()
    thing = f" the {d.pick(w.things)}" if needs == ok else ""
    verb = d.pick(NEED_OBJECT if needs else NO_OBJECT)
    return f"the {d.pick(TRAITS)} {d.pick(w.people)} {verb}{thing} at the {d.pick(w.places)} {d.pick(WHEN)}"


def _dative(d: Dice, w: Words, ok: bool) -> str:
    giver, taker = d.some(w.people, 2)
    thing = f"the {d.pick(w.things)}"
    if d.chance():
        verb = d.pick(TWO_OBJECTS if ok else ONE_OBJECT)
        return f"the {giver} {verb} the {taker} {thing} {d.pick(WHEN)}"
    verb = d.pick(ONE_OBJECT + TWO_OBJECTS)
    order = f"{thing} to the {taker}" if ok else f"to {thing} the {taker}"
    return f"the {giver} {verb} {order} {d.pick(WHEN)}"


def _comparison(d: Dice, w: Words, ok: bool) -> str:
    base, more = d.pick(GRADABLE)
    one, two = d.some(w.people, 2)
    good = (f"as {base} as", f"{more} than", f"not as {base} as")
    bad = (f"as {more} as", f"{base} than", f"more {more} than", f"as {base} than", f"{more} as")
    return f"the {one} from the {d.pick(w.places)} was {d.pick(good if ok else bad)} the {two}"


def _preposition(d: Dice, w: Words, ok: bool) -> str:
    adjective, right = d.pick(ADJECTIVE_PREPOSITION)
    word = right if ok else d.pick([p for p in PREPOSITIONS if p not in (right, "about", "with", "at", "for")])
    return f"{d.pick(w.names)} was {adjective} {word} the {d.pick(LOOKS)} {d.pick(w.things)}"


def _polarity(d: Dice, w: Words, ok: bool) -> str:
    start = d.pick(("no", "hardly any") if ok else ("some", "almost every"))
    return f"{start} {d.pick(w.people)} has ever {d.pick(TRANSITIVE).participle} any {plural(d.pick(w.things))}"


def _pair(d: Dice, w: Words, ok: bool) -> str:
    pairs = (("both", "and"), ("either", "or"), ("neither", "nor"))
    first, right = d.pick(pairs)
    second = right if ok else d.other(("and", "or", "nor"), right)
    one, two = d.some(w.people, 2)
    return f"{d.pick(w.names)} {d.pick(TRANSITIVE).past} {first} the {one} {second} the {two} {d.pick(WHEN)}"


def _order(d: Dice, w: Words, ok: bool) -> str:
    words = ["the", d.pick(TRAITS), d.pick(w.people), d.pick(ADVERBS), d.pick(TRANSITIVE).past]
    words += ["the", d.pick(LOOKS), d.pick(w.things), "near", "the", d.pick(w.places)]
    if not ok:
        at = d.pick((0, 1, 4, 5, 6, 8, 9))
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def _missing(d: Dice, w: Words, ok: bool) -> str:
    words = ["the", d.pick(w.people), d.pick(TRANSITIVE).past, "the", d.pick(w.things), "at", "the"]
    words += [d.pick(w.places), *d.pick(WHEN).split()]
    if not ok:
        at = d.pick((0, 2, 3, 5, 6))
        words[at : at + 1] = [] if d.chance(0.6) else [words[at], words[at]]
    return " ".join(words)


CONSTRUCTIONS: tuple[Callable[[Dice, Words, bool], str], ...] = (
    *(_agreement, _present, _auxiliary, _complement, _determiner, _reflexive, _gap, _question, _object),
    *(_dative, _comparison, _preposition, _polarity, _pair, _order, _missing),
)


def cola(d: Dice, w: Words) -> tuple[tuple[str], int]:
    """A sentence, and 1 where it is acceptable."""
    ok = d.chance(0.58)
    text = d.pick(CONSTRUCTIONS)(d, w, ok)
    if text[-1] != "?" and d.chance(0.25):
        text = f"{d.pick(w.names)} {d.pick(('said', 'thought', 'knew'))} that {text}"
    text = text[0].upper() + text[1:]
    return (text if text[-1] == "?" else f"{text}.",), int(ok)
