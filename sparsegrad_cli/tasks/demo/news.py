"""Short news: what happened, to whom, and where, when, why, how much and who says so."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .dice import Dice
from .words import DAYS, NUMBERS, Words


@dataclass(frozen=True)
class Event:
    """A kind of event; `{}` stands for whom it is about, in `amount` for a number."""

    about: str  # "firm" or "person"
    told: tuple[str, ...]  # ways to tell it
    denied: tuple[str, ...]  # ways to tell its contrary
    asked: str  # what follows "where", "when" and "why" in a question
    reasons: tuple[str, ...]
    amount: str
    how_many: str  # the question that the amount answers


EVENTS = (
    Event(
        "firm",
        ("{} opened a new factory", "{} started work in a new plant", "a new factory of {} was opened"),
        ("{} closed its old factory", "{} shut down its old plant", "the old factory of {} was closed"),
        "did {} open a new factory",
        ("lower wages", "strong demand", "new taxes", "a promise to the mayor"),
        "with {} hundred workers",
        "how many workers does the new factory of {} have",
    ),
    Event(
        "firm",
        ("{} raised the price of its phones", "{} made its phones more expensive"),
        ("{} cut the price of its phones", "{} made its phones cheaper"),
        "did {} raise the price of its phones",
        ("rising costs", "weak sales", "new taxes", "a change of plans"),
        "by {} percent",
        "by how many percent did {} change the price of its phones",
    ),
    Event(
        "firm",
        ("{} reported a large profit", "{} earned a lot of money"),
        ("{} reported a large loss", "{} lost a lot of money"),
        "did {} report a large profit",
        ("the long winter", "the new phones", "a lost lawsuit", "cheap oil"),
        "for the last {} months",
        "how many months does the report of {} cover",
    ),
    Event(
        "firm",
        ("the drivers of {} went on strike", "the drivers of {} stopped work"),
        ("the drivers of {} ended their strike", "the drivers of {} went back to work"),
        "did the drivers of {} go on strike",
        ("the new contract", "an order of the court", "the coming holidays", "the pay offer"),
        "after {} weeks of talks",
        "how many weeks did the talks with the drivers of {} last",
    ),
    Event(
        "person",
        ("{} won the national race", "{} finished the national race in first place"),
        ("{} lost the national race", "{} finished the national race in last place"),
        "did {} win the national race",
        ("better shoes", "the strong wind", "a fall near the end", "the summer heat"),
        "against {} other runners",
        "how many other runners were in the race against {}",
    ),
    Event(
        "person",
        ("the police arrested {}", "{} was taken to prison", "{} was arrested"),
        ("the police released {}", "{} was set free", "{} was released"),
        "did the police arrest {}",
        ("a mistake", "new evidence", "a phone call", "a letter to the judge"),
        "with {} other men",
        "how many other men were with {}",
    ),
    Event(
        "person",
        ("{} gave a free concert", "{} played in a free concert"),
        ("{} canceled a free concert", "{} called off a free concert"),
        "did {} give a free concert",
        ("the local elections", "a bet with a friend", "the summer heat", "an illness"),
        "for {} hundred guests",
        "for how many guests was the concert of {}",
    ),
    Event(
        "person",
        ("the trial of {} began", "{} went on trial", "{} came before the court for the first time"),
        ("the trial of {} ended", "{} left the court as a free man", "the court closed the case of {}"),
        "did the trial of {} begin",
        ("a stolen car", "new evidence", "unpaid taxes", "a letter to the judge"),
        "with {} witnesses",
        "how many witnesses are there in the case of {}",
    ),
    Event(
        "person",
        ("{} sold an old painting", "an old painting was sold by {}"),
        ("{} bought an old painting", "an old painting was bought by {}"),
        "did {} sell an old painting",
        ("the low price", "a new hobby", "a large debt", "a quarrel at home"),
        "for {} thousand dollars",
        "how many thousand dollars was the painting of {} worth",
    ),
    Event(
        "person",
        ("{} became the leader of the party", "the party chose {} as its leader"),
        ("{} left the party for good", "the party threw out {}"),
        "did {} become the leader of the party",
        ("the last election", "a secret deal", "a speech on taxes", "a quarrel over money"),
        "after a vote of {} hours",
        "for how many hours did the party vote on {}",
    ),
)

PHRASES = {"where": "in {}", "when": "on {}", "why": "because of {}", "source": "according to {}"}
DETAILS = (*PHRASES, "amount")


@dataclass(frozen=True)
class News:
    """One event with all its details."""

    event: Event
    who: str
    where: str
    when: str
    why: str
    amount: str
    source: str
    denied: bool

    def tell(self, d: Dice, details: list[str]) -> str:
        """A sentence with these details."""
        ways = self.event.denied if self.denied else self.event.told
        text = d.pick(ways).format(self.who)
        phrases = {one: PHRASES.get(one, self.event.amount).format(getattr(self, one)) for one in details}
        order = d.some(details, len(details))
        opening = order[0] if order[0] != "amount" and d.chance() else ""
        inside = [phrases[one] for one in order if one not in (opening, "source")]
        start = f"{phrases[opening]}, " if opening else ""
        end = f", {phrases['source']}" if "source" in order and opening != "source" else ""
        return f"{start}{' '.join((text, *inside))}{end}"

    def ask(self, detail: str) -> str:
        """The question that the detail answers."""
        if detail == "amount":
            return self.event.how_many.format(self.who)
        if detail == "source":
            return f"who says that {self.event.told[0].format(self.who)}"
        return f"{detail} {self.event.asked.format(self.who)}"


def news(d: Dice, w: Words, event: Event | None = None) -> News:
    """Something that happened; of the kind of `event` where one is given."""
    event = event or d.pick(EVENTS)
    who, source = (f"{d.pick(w.names)} {surname}" for surname in d.some(w.surnames, 2))
    if event.about == "firm":
        who = d.pick(w.firms)
    where, when, why, amount = d.pick(w.cities), d.pick(DAYS), d.pick(event.reasons), d.pick(NUMBERS)
    return News(event, who, where, when, why, amount, source, denied=d.chance())


def changed(d: Dice, w: Words, item: News, parts: list[str]) -> News:
    """The news with these parts ("who", "denied" or details) made other."""
    for part in parts:
        other = item
        while getattr(other, part) == getattr(item, part):
            other = replace(news(d, w, item.event), denied=not item.denied)
        item = replace(item, **{part: getattr(other, part)})
    return item
