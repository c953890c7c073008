"""The vocabularies: one to train on, and two that no training text has a name or noun of."""

from __future__ import annotations

from dataclasses import dataclass

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "September", "October", "November")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "eleven", "twelve")


@dataclass(frozen=True)
class Words:
    """The open word classes that one split draws on."""

    men: tuple[str, ...]
    women: tuple[str, ...]
    people: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[str, ...]
    surnames: tuple[str, ...] = ()
    cities: tuple[str, ...] = ()
    firms: tuple[str, ...] = ()
    praise: tuple[str, ...] = ()
    blame: tuple[str, ...] = ()
    activities: tuple[tuple[str, ...], ...] = ()  # ways to say one

    @property
    def names(self) -> tuple[str, ...]:
        """First names of men and women."""
        return self.men + self.women


def _words(activities: str = "", **lists: str) -> Words:
    pairs = tuple(tuple(pair.strip().split(" / ")) for pair in activities.split(";"))
    return Words(activities=pairs, **{name: tuple(words.split()) for name, words in lists.items()})


TRAIN = _words(
    men="Peter David Thomas Robert Martin Daniel Paul Henry Frank George Adam Leo Samuel Jack",
    women="Anna Maria Laura Emma Julia Sarah Alice Rosa Kate Linda Susan Eva Jane Lucy",
    surnames="Keller Brown Rossi Novak Lopez Hansen Miller Carter Singh Walsh Meyer Evans Kim Costa Reed "
    "Fisher",
    cities="London Boston Madrid Vienna Oslo Denver Lyon Kyoto Cairo Seattle Warsaw Toronto",
    people="farmer teacher nurse pilot lawyer painter manager student soldier singer dentist tailor "
    "hunter scientist officer dancer builder neighbor driver doctor",
    things="letter book bicycle clock radio map cake knife coat mirror carpet camera basket ladder "
    "hammer bottle painting blanket guitar ticket ring table statue wallet",
    places="market station park museum school harbor bank church river office farm bridge",
    firms="Norvane Halden Cortex Brightway Solano Kestrel Ardmore Vantis",
    praise="wonderful brilliant moving funny excellent charming clever delightful superb touching "
    "lively fresh beautiful gripping warm perfect memorable exciting",
    blame="boring terrible dull awful clumsy tedious weak silly predictable flat lifeless annoying "
    "shallow ugly poor stale painful forgettable",
    activities="learn Spanish / study Spanish; repair a bicycle / fix a bike; paint a fence / put paint on "
    "a fence; lose weight / get thinner; grow tomatoes / raise tomatoes; bake bread / make "
    "bread; sell a used car / find a buyer for an old car; run a marathon / complete a marathon; "
    "move to Canada / emigrate to Canada; adopt a cat / get a cat from a shelter; play chess / "
    "take up chess; remove a tattoo / get rid of a tattoo; learn to swim / take swimming "
    "lessons; write a novel / become a novelist; dye my hair / color my hair; start a company / "
    "found a business; keep bees / become a beekeeper; climb a mountain / go up a mountain; "
    "build a shed / put up a shed; whiten my teeth / make my teeth whiter; train a dog / teach a "
    "dog tricks; travel to Japan / visit Japan",
)

DEV = _words(
    men="Victor Oscar Felix Simon Hugo Walter Bruno Edgar Philip Ian Ralph Stephen",
    women="Helen Nina Clara Ruth Irene Monica Diana Grace Sophie Carol Amy Teresa",
    surnames="Bauer Nelson Conti Petrov Garcia Olsen Turner Shaw Gupta Murphy Weber Hughes",
    cities="Dublin Chicago Lisbon Prague Helsinki Dallas Milan Osaka Nairobi Sydney",
    people="baker judge sailor reporter gardener librarian mechanic butcher waiter plumber clerk guard "
    "author cleaner surgeon tourist",
    things="novel diary tractor lamp piano pump drum shirt chair rug candle sword helmet kettle "
    "necklace poster pillow violin trumpet box",
    places="library airport castle hotel hospital theater stadium cafe lake factory garden tower",
    firms="Morland Teklon Bluestone Orsini Fairfax Zentra",
    praise="marvelous splendid hilarious captivating elegant stunning engaging inventive tender "
    "uplifting sharp graceful enjoyable thrilling",
    blame="dreary horrible bland awkward mediocre pointless sloppy dreadful tiresome muddled hollow "
    "lame sluggish disappointing",
    activities="learn Russian / study Russian; restore a piano / fix up an old piano; cook rice / prepare "
    "rice; quit smoking / stop smoking; plant an apple tree / put an apple tree in the garden; "
    "rent a boat / hire a boat; become a pilot / work as a pilot; knit a sweater / make a woolen "
    "sweater; visit Norway / travel to Norway; buy a house / purchase a home; raise chickens / "
    "keep hens; learn to ski / take skiing lessons; tile a bathroom / lay tiles in a bathroom; "
    "brew beer / make my own beer; repair a roof / fix a leaking roof; study medicine / go to "
    "medical school",
)

MISMATCHED = _words(
    men="Edmund Arthur Gilbert Rufus Conrad Alden",
    women="Beatrice Matilda Rosalind Winifred Cecily Elinor",
    people="merchant monk captain shepherd knight duke servant blacksmith wizard countess hermit bishop",
    things="scroll lantern goblet dagger crown shield harp wagon cloak barrel chest flute",
    places="monastery inn forest palace dungeon village meadow abbey cave mill",
)
