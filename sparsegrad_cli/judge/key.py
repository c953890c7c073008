"""The key of the judge's endpoint: from the environment, and into the request's header alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from ..errors import InputError

DEFAULT_VARIABLE = "OPENAI_API_KEY"
HIDDEN = "***"


@dataclass(frozen=True)
class Key:
    """A key, or that there is none."""

    variable: str
    value: str = field(repr=False)  # empty: none

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def hide(self, text: str) -> str:
        """`text` without the key, however JSON may write it."""
        if not self.value:
            return text
        quoted = json.dumps(self.value)[1:-1]
        for written in {self.value, quoted, quoted.replace("/", "\\/")}:
            text = text.replace(written, HIDDEN)
        return text


def read_key(variable: str | None) -> Key:
    """The key in an environment variable; None: in OPENAI_API_KEY, if it is set.

    Raises:
        InputError: a variable was named and is not set, or what it holds cannot be a key.
    """
    name = variable or DEFAULT_VARIABLE
    value = os.environ.get(name, "").strip()
    if variable and not value:
        raise InputError(f"--key-variable {variable}: no such variable in the environment, or it is empty")
    if not all("!" <= character <= "~" for character in value):
        raise InputError(
            f"{name}: what it holds is no key: a key is made of ASCII letters and signs, no spaces"
        )
    return Key(name, value)
