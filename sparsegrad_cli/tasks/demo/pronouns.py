"""Whom or what a pronoun stands for."""

from __future__ import annotations

from typing import NamedTuple

from .dice import Dice
from .english import plural, sentence
from .words import Words


class Referent(NamedTuple):
    """What a pronoun may stand for, and the pronoun that it takes."""

    name: str
    pronoun: str

    def told(self, what: str, by: str) -> str:
        """What is told of it, with `by` (its name or pronoun) as subject."""
        return f"{by} {what.replace('was ', 'were ') if self.pronoun == 'they' else what}"


# what one did to another, and what is then told of one of them
DEEDS = (
    ("thanked", "had helped with the work"),
    ("called", "needed advice"),
    ("waited for", "was late again"),
    ("visited", "was in the hospital"),
    ("blamed", "had lost the keys"),
    ("avoided", "was in a bad mood"),
    ("paid", "had done the work"),
    ("followed", "knew the way"),
    ("left", "was tired of the noise"),
    ("congratulated", "had passed the test"),
)
HANDLING = ("dropped", "put down", "carried", "moved", "sold", "threw away")
OF_THINGS = ("was too heavy", "was broken", "was made of glass", "was worth nothing", "was covered with dust")
OF_PEOPLE = ("was tired", "was in a hurry", "needed money", "felt sick", "wanted to go home")


def _two_people(d: Dice, w: Words) -> tuple[str, str, Referent, Referent]:
    if d.chance():
        pair = (Referent(d.pick(w.men), "he"), Referent(d.pick(w.women), "she"))
    else:
        one, two = d.some(w.people, 2)
        pair = (Referent(f"the {one}", d.pick(("he", "she"))), Referent(f"the {plural(two)}", "they"))
    (one, two), (meant, other) = d.some(pair, 2), d.some(pair, 2)
    deed, what = d.pick(DEEDS)
    return f"{one.name} {deed} {two.name}", what, meant, other


def _person_and_thing(d: Dice, w: Words) -> tuple[str, str, Referent, Referent]:
    person, thing = (
        Referent(f"the {d.pick(w.people)}", d.pick(("he", "she"))),
        Referent(f"the {d.pick(w.things)}", "it"),
    )
    meant, other = d.some((person, thing), 2)
    return (
        f"{person.name} {d.pick(HANDLING)} {thing.name}",
        d.pick(OF_THINGS if meant is thing else OF_PEOPLE),
        meant,
        other,
    )


def wnli(d: Dice, w: Words) -> tuple[tuple[str, str], int]:
    """A sentence with a pronoun, the same with a name in its place, and 1 where that is right."""
    start, what, meant, other = d.pick(
        (_person_and_thing, _person_and_thing, _person_and_thing, _two_people)
    )(d, w)
    right = d.chance()
    claimed = meant if right else other
    first = f"{start} because {meant.told(what, by=meant.pronoun)}"
    return (sentence(first), sentence(claimed.told(what, by=claimed.name))), int(right)
