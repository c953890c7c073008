"""A sentence of a story and a claim about it: true, false or not to be known."""

from __future__ import annotations

from .dice import Dice
from .english import sentence
from .words import DAYS, Words

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)

# base form, then past forms that say the same, and some that say the contrary
DEEDS = (
    ("buy", ("bought", "purchased"), ("sold", "refused to buy")),
    ("find", ("found", "discovered"), ("lost", "failed to find")),
    ("hide", ("hid", "concealed"), ("showed everyone", "put on display")),
    ("repair", ("repaired", "fixed"), ("broke", "damaged")),
    ("take", ("took away", "carried off"), ("left behind", "brought back")),
    ("keep", ("kept", "held on to"), ("gave away", "threw away")),
    ("clean", ("cleaned", "washed"), ("soiled", "made a mess of")),
)
DETAILS = ("where", "when", "company", "why")


def _detail(d: Dice, w: Words, kind: str, but: str = "") -> str:
    """A phrase of that kind, and not the one given."""
    forms = {
        "where": [f"at the {place}" for place in w.places],
        "when": [f"on {day}" for day in DAYS],
        "company": [f"together with {name}" for name in w.names],
        "why": [f"as a {what}" for what in ("favor", "joke", "test", "surprise", "matter of routine")],
    }
    return d.other(forms[kind], but)


def mnli(d: Dice, w: Words) -> tuple[tuple[str, str], int]:
    """A premise, a hypothesis and how they stand to each other."""
    label = d.pick((ENTAILMENT, NEUTRAL, CONTRADICTION))
    return _pair(d, w, label), label


def rte(d: Dice, w: Words) -> tuple[tuple[str, str], int]:
    """A sentence, another one, and 0 where the first implies the second."""
    label = ENTAILMENT if d.chance() else d.pick((NEUTRAL, CONTRADICTION))
    return _pair(d, w, label), int(label != ENTAILMENT)


def _pair(d: Dice, w: Words, label: int) -> tuple[str, str]:
    """A premise, and a hypothesis that stands to it as the label says."""
    who, what = f"the {d.pick(w.people)}", f"the {d.pick(w.things)}"
    base, same, contrary = d.pick(DEEDS)
    kinds = d.some(DETAILS, 3)
    details = {kind: _detail(d, w, kind) for kind in kinds[:2]}
    kind = kinds[2] if label == NEUTRAL else d.pick(kinds[:2])
    detail = details.get(kind) or _detail(d, w, kind)
    happened = d.chance(0.7)
    premise = f"{who} {d.pick(same)} {what} {' '.join(details.values())}"
    if not happened:
        premise = f"{who} wanted to {base} {what} {' '.join(details.values())}, but could not do it"
        detail = detail if label == NEUTRAL else ""
    true = f"{d.pick(same)} {what}" if happened else f"did not {base} {what}"
    false = (
        d.pick((f"{d.pick(contrary)} {what}", f"did not {base} {what}"))
        if happened
        else f"{d.pick(same)} {what}"
    )
    if label == CONTRADICTION and happened and d.chance(0.5):
        false, detail = true, _detail(d, w, kind, but=detail)
    claim = false if label == CONTRADICTION else true
    hypothesis = " ".join(filter(None, (d.pick((who, who, "someone")), claim, detail)))
    return sentence(premise), sentence(hypothesis)
