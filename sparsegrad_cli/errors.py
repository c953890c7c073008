"""The two ways a command can end badly; the command line turns them into one line on stderr."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad usage or bad input (exit code 2).

    The message is one line: what is wrong, where (option, file, line), and what would be right.
    """


class WorkError(RuntimeError):
    """The work itself failed (exit code 1): the disk filled up, the loss diverged, a file was cut short."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not known: the known ones and the nearest."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no {what} {name!r}, there are {', '.join(names)}{hint}"
