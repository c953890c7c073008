"""Small synthetic conversations, made from a seed: every answer follows from what was said before it.

The splits share their templates and no name, thing or place, as those of the other synthetic tasks do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..demo.dice import Dice
from ..demo.english import a, sentence
from ..demo.words import DEV, NUMBERS, TRAIN, Words
from .messages import Message

TREES = {"train": 120, "validation": 24}  # about 1.7 threads each
WORDS = {"train": TRAIN, "validation": DEV}
COLORS = ("red", "blue", "green", "black", "white", "old")


class Topic(NamedTuple):
    """What a conversation is about; `then` are ways to go on, each a question and its answer."""

    prompt: str
    answers: tuple[str, str]  # two wordings
    then: tuple[tuple[str, str], ...]


def demo_messages(split: str, seed: int = 0) -> Iterator[Message]:
    """The messages of one split, tree by tree.

    Args:
        split: a key of `TREES`.
        seed: equal seeds give equal conversations on every machine.
    """
    dice, prompts = Dice(f"oasst1 {split} {seed}"), set[str]()
    while len(prompts) < TREES[split]:
        topic = dice.pick(TOPICS)(dice, WORDS[split])
        if topic.prompt not in prompts:
            yield from _tree(dice, topic, f"{split}-{len(prompts):03}")
            prompts.add(topic.prompt)


def _tree(d: Dice, topic: Topic, tree: str) -> Iterator[Message]:
    """One prompt, one or both answers, and under the first of them up to two ways to go on."""
    said: list[tuple[str, str | None, str]] = [(tree, None, topic.prompt)]  # id, what it replies to, text
    for number, answer in enumerate(d.some(topic.answers, 1 + d.chance(0.3))):
        said.append((f"{tree}-{number}", tree, answer))
    for number, (question, answer) in enumerate(d.some(topic.then, d.pick((0, 1, 1, 2)))):
        said.append((f"{tree}-0-{number}", f"{tree}-0", question))
        said.append((f"{tree}-0-{number}-0", f"{tree}-0-{number}", answer))
    for id, parent, text in said:
        role = "prompter" if id.count("-") % 2 else "assistant"  # an id has one hyphen more than its parent's
        yield Message(id, parent, tree, text, role, "en", withdrawn=False, state=None, place=f"demo {tree}")


def _sum(d: Dice, w: Words) -> Topic:
    one, two, more = (int(d.pick(range(2, 50))) for _ in range(3))
    return Topic(
        f"What is {one} plus {two}?",
        (f"{one} plus {two} is {one + two}.", f"It is {one + two}."),
        (
            (f"And {more} more?", f"{one + two} plus {more} is {one + two + more}."),
            (f"Is that more than {more}?", "Yes." if one + two > more else "No."),
        ),
    )


def _guest(d: Dice, w: Words) -> Topic:
    name, city, job = d.pick(w.names), d.pick(w.cities), d.pick(w.people)
    return Topic(
        f"My name is {name}. I am {a(job)} and live in {city}.",
        (f"Hello {name}, how is life in {city}?", f"Nice to meet you, {name} from {city}."),
        (
            ("What is my name?", f"Your name is {name}."),
            ("Where do I live?", f"You live in {city}."),
            ("What do I do?", f"You are {a(job)}."),
        ),
    )


def _lost(d: Dice, w: Words) -> Topic:
    who, what, where = d.pick(w.names), f"{d.pick(COLORS)} {d.pick(w.things)}", d.pick(w.places)
    return Topic(
        f"{who} has lost {a(what)} near the {where}. What has {who} lost?",
        (f"{who} has lost {a(what)}.", sentence(a(what))),
        (
            ("Where was that?", f"Near the {where}."),
            ("Who has lost it?", f"{who} has."),
            ("What should we do?", f"Let us go to the {where} and look for the {what}."),
        ),
    )


def _shop(d: Dice, w: Words) -> Topic:
    number, thing, other = d.pick(NUMBERS), *d.some(w.things, 2)
    return Topic(
        f"I want to buy {a(thing)} for {number} dollars. What do I need?",
        (f"You need {number} dollars.", f"To buy {a(thing)} you need {number} dollars."),
        (
            (f"And for {a(other)}?", f"You did not say what {a(other)} costs."),
            ("What did I want to buy?", sentence(a(thing))),
        ),
    )


def _alphabet(d: Dice, w: Words) -> Topic:
    words = d.some(w.people, 3)
    first, second, third = sorted(words)
    return Topic(
        f"Put these in the order of the alphabet: {', '.join(words)}.",
        (f"{first}, {second}, {third}", f"First {first}, then {second}, then {third}."),
        (
            ("Which is the last?", sentence(third)),
            ("And the other way round?", f"{third}, {second}, {first}"),
        ),
    )


TOPICS = (_sum, _guest, _lost, _shop, _alphabet)
