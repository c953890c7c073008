"""Opinions about films and books, good or bad."""

from __future__ import annotations

from .dice import Dice
from .english import a, sentence
from .words import Words

KINDS = ("film", "novel", "play", "series", "comedy", "thriller", "documentary", "musical")
PARTS = (
    *("acting", "plot", "dialogue", "ending", "music", "opening", "script", "pacing", "cast", "humor"),
    *("first half", "second half", "direction", "story", "main character", "last chapter", "final scene"),
)
AUDIENCE = (
    "some critics",
    "my friends",
    "two colleagues",
    "the whole family",
    "my parents",
    "our reading group",
)


def _plain(d: Dice, good: str, other: str, bad: str) -> str:
    one, two = d.some(PARTS, 2)
    return d.pick(
        (
            f"the {one} is {good} and the {two} is {other}",
            f"{a(good)} {d.pick(KINDS)} with {a(other)} {one}",
            f"what stays with me is the {good} {one} and the {other} {two}",
            f"I watched it with {d.pick(AUDIENCE)}, and we found it {good} and {other}",
            f"from the {one} to the {two}, this {d.pick(KINDS)} is {good}",
        )
    )


def _contrast(d: Dice, good: str, other: str, bad: str) -> str:
    one, two = d.some(PARTS, 2)
    kind = d.pick(KINDS)
    return d.pick(
        (
            f"although the {one} is {bad}, the {kind} as a whole is {good}",
            f"the {one} may be {bad}, but in the end this is {a(good)} {kind}",
            f"what begins as {a(bad)} {kind} turns out to be {good} and {other}",
            f"some called the {kind} {bad}, but I found it {good}",
            f"its {one} is {bad}, and still the {two} makes it {a(good)} {kind}",
        )
    )


def _negated(d: Dice, good: str, other: str, bad: str) -> str:
    one, two = d.some(PARTS, 2)
    kind = d.pick(KINDS)
    return d.pick(
        (
            f"nobody could call the {one} of this {kind} {bad}",
            f"the {one} is not nearly as {bad} as the {two} of the last {kind} I saw",
            f"there is nothing {bad} about the {one} of this {kind}",
            f"I expected {a(bad)} {kind}, but it was not {bad} at all",
            f"if this {kind} is {bad}, its {one} hides it well",
            f"the {kind} is anything but {bad}, least of all its {one}",
        )
    )


def sst2(d: Dice, w: Words) -> tuple[tuple[str], int]:
    """A review, and 1 where it is positive."""
    positive = d.chance()
    good, other = d.some(w.praise if positive else w.blame, 2)
    bad = d.pick(w.blame if positive else w.praise)
    frame = d.pick((_plain, _contrast, _negated))
    return (sentence(frame(d, good, other, bad)),), int(positive)
