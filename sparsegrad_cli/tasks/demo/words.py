"""The vocabularies: one to train on, and two that no training text has a name or noun of."""

from __future__ import annotations

from dataclasses import dataclass

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "September", "October", "November")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty")


@dataclass(frozen=True)
class Words:
    """The open word classes that one split draws on."""

    men: tuple[str, ...]
    women: tuple[str, ...]
    surnames: tuple[str, ...]
    cities: tuple[str, ...]
    people: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[str, ...]
    firms: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """First names of men and women."""
        return self.men + self.women


def _words(**lists: str) -> Words:
    return Words(**{name: tuple(words.split()) for name, words in lists.items()})


TRAIN = _words(
    men="Peter David Thomas Robert Martin Daniel Paul Henry Frank George Adam Leo Samuel Jack",
    women="Anna Maria Laura Emma Julia Sarah Alice Rosa Kate Linda Susan Eva Jane Lucy",
    surnames="Keller Brown Rossi Novak Lopez Hansen Miller Carter Singh Walsh Meyer Evans Kim Costa Reed Fisher",
    cities="London Boston Madrid Vienna Oslo Denver Lyon Kyoto Cairo Seattle Warsaw Toronto",
    people="farmer teacher nurse pilot lawyer painter manager student soldier singer dentist tailor hunter "
    "scientist officer dancer builder neighbor driver doctor",
    things="letter book bicycle clock radio map cake knife coat mirror carpet camera basket ladder hammer "
    "bottle painting blanket guitar ticket ring table statue wallet",
    places="market station park museum school harbor bank church river office farm bridge",
    firms="Norvane Halden Cortex Brightway Solano Kestrel Ardmore Vantis",
)

DEV = _words(
    men="Victor Oscar Felix Simon Hugo Walter Bruno Edgar Philip Ian Ralph Stephen",
    women="Helen Nina Clara Ruth Irene Monica Diana Grace Sophie Carol Amy Teresa",
    surnames="Bauer Nelson Conti Petrov Garcia Olsen Turner Shaw Gupta Murphy Weber Hughes",
    cities="Dublin Chicago Lisbon Prague Helsinki Dallas Milan Osaka Nairobi Sydney",
    people="baker judge sailor reporter gardener librarian mechanic butcher waiter plumber clerk guard author "
    "cleaner surgeon tourist",
    things="novel diary tractor lamp piano pump drum shirt chair rug candle sword helmet kettle necklace "
    "poster pillow violin trumpet box",
    places="library airport castle hotel hospital theater stadium cafe lake factory garden tower",
    firms="Morland Teklon Bluestone Orsini Fairfax Zentra",
)

MISMATCHED = _words(
    men="Edmund Arthur Gilbert Rufus Conrad Alden",
    women="Beatrice Matilda Rosalind Winifred Cecily Elinor",
    surnames="Blackwood Ashford Thorne Fairchild Lockwood Pembroke",
    cities="Venice Granada Bruges Damascus Zanzibar Salem",
    people="merchant monk captain shepherd knight duke servant blacksmith wizard countess hermit bishop",
    things="scroll lantern goblet dagger crown shield harp wagon cloak barrel chest flute",
    places="monastery inn forest palace dungeon village meadow abbey cave mill",
    firms="Blackwood Ashford",
)
