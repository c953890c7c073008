"""The definition of a setting: a field of a record that says how commands, files and ids take it.

`setting(...)` declares one, as `config.RunConfig` does; `settings_of` reads them from a record.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import pydantic
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo

WHAT, TRAINING, METHOD, CHAT, OUTPUT = "What to run", "Training", "The method", "Chat tasks", "Output"


class Record(BaseModel):
    """A frozen record that refuses keys it does not know, and NaN and infinity, which JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


@dataclass(frozen=True)
class Setting:
    """A setting as commands and files take it: what its field says besides the type."""

    help: str = ""  # a sentence, with the unit, without the default
    panel: str = TRAINING  # of a command's help
    default: Any = None  # where a user leaves it open; None: `off`, or it is computed
    chat: Any = None  # the same for chat tasks, where it differs
    default_help: str = ""  # where the default depends on more than the kind of task
    flag: str = ""  # on the command line; by default the field's name
    above: float | None = None  # bounds of a number
    at_least: float | None = None
    at_most: float | None = None
    of_method: bool = False  # used only by the methods that name it in their `settings`
    chat_only: bool = False
    in_id: bool = True
    is_searchable: bool = False  # by a sweep
    makes_basis: bool = False  # the calibration of a basis depends on it

    name: str = ""  # these three are filled in by `settings_of`
    type: Any = None
    off: Any = None

    @property
    def option(self) -> str:
        """Its name in a message: `--learning-rate`."""
        return self.flag.partition("/")[0]

    def words(self, value: Any) -> list[str]:
        """Returns the option with a value, as words of a command line."""
        yes, _, no = self.flag.partition("/")
        if isinstance(value, bool):
            return [flag for flag in (yes if value else no,) if flag]
        words = []
        for each in value if isinstance(value, list | tuple) else [value]:
            is_short = isinstance(each, float) and float(f"{each:g}") == each
            words += [yes, f"{each:g}" if is_short else str(each)]
        return words

    def default_for(self, is_chat: bool) -> Any:
        """Returns its value where a user leaves it open; None also stands for one that is computed."""
        if is_chat and self.chat is not None:
            return self.chat
        return self.off if self.default is None or (self.chat_only and not is_chat) else self.default

    def help_text(self) -> str:
        """Returns its help with a sentence about the default."""
        usual, chat = (_written(self.default_for(is_chat)) for is_chat in (False, True))
        if chat != usual:
            usual = chat if self.chat_only else f"{usual} (chat tasks: {chat})"
        default = self.default_help or usual
        return f"{self.help} Default: {default}." if default else self.help

    def is_whole(self) -> bool:
        """Returns whether its values are whole numbers."""
        return int in (self.type, *get_args(self.type))

    def is_number(self) -> bool:
        return self.is_whole() or float in (self.type, *get_args(self.type))

    def check(self, value: object) -> Any:
        """Returns the value in the setting's type.

        Raises:
            ValueError: it is of another type or out of bounds; the message goes on after the setting's name.
        """
        if self.type is bool and not isinstance(value, bool):  # pydantic takes "y" and 1 too
            raise ValueError(f"must be true or false, got {value!r}")
        if self.is_number() and isinstance(value, bool):
            raise ValueError(f"must be a number, got {value!r}")
        try:
            checked = _adapter(self.type).validate_python(value)
        except pydantic.ValidationError as error:
            raise ValueError(_fault(error, value)) from None
        for words, bound, is_fine in (
            ("above", self.above, operator.gt),
            ("at least", self.at_least, operator.ge),
            ("at most", self.at_most, operator.le),
        ):
            if bound is not None and checked is not None and not is_fine(checked, bound):
                raise ValueError(f"must be {words} {bound:g}, got {checked:g}")
        return checked


REQUIRED: Any = ...


def setting(help: str = "", panel: str = TRAINING, *, off: Any = REQUIRED, **says: Any) -> Any:
    """Returns a field of a record that is a `Setting`.

    Args:
        off: the field's own default, which is no part of an id; without one the field is required.
    """
    extra: dict[str, Any] = {"setting": Setting(help, panel, **says)}
    return Field(off, json_schema_extra=extra)


@functools.cache
def settings_of(record: type[Record]) -> dict[str, Setting]:
    """Returns the settings among a record's fields, by name and in order."""
    found = {}
    for name, field in record.model_fields.items():
        said = _said(field)
        if said is not None and said.help:
            flag = said.flag or "--" + name.replace("_", "-")
            off = None if field.is_required() else field.get_default(call_default_factory=True)
            found[name] = replace(said, name=name, type=field.annotation, flag=flag, off=off)
    return found


def identity(record: BaseModel, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Returns the fields that decide a record's id: those that are not off.

    Args:
        leave_out: fields that do not count, besides those whose `Setting` says so.
    """
    decides = {}
    for name in names_in_id(type(record)):
        value, field = getattr(record, name), type(record).model_fields[name]
        is_off = not field.is_required() and value == field.get_default(call_default_factory=True)
        if name not in leave_out and value is not None and not is_off:
            decides[name] = _plain(value)
    return decides


def names_in_id(record: type[BaseModel]) -> list[str]:
    """Returns the fields of a record that its id may hang on."""
    said = {name: _said(field) for name, field in record.model_fields.items()}
    return [name for name, setting in said.items() if setting is None or setting.in_id]


def config_id(record: BaseModel, leave_out: Collection[str] = ()) -> str:
    """Returns the 16 hexadecimal digits that name a result's folder: the hash of `identity`."""
    return hash_of(identity(record, leave_out))


def hash_of(value: object) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _said(field: FieldInfo) -> Setting | None:
    extra = field.json_schema_extra
    found = extra.get("setting") if isinstance(extra, dict) else None
    return found if isinstance(found, Setting) else None


def _plain(value: object) -> Any:
    match value:
        case BaseModel():
            return identity(value)
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"{value!r} cannot be part of an id")


@functools.cache
def _adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_, config=ConfigDict(allow_inf_nan=False))


def _fault(error: pydantic.ValidationError, value: object) -> str:
    """Returns what is wrong with a value, to follow the setting's name."""
    problem = error.errors()[0]
    match problem["type"]:
        case "literal_error":
            known = problem["ctx"]["expected"].replace("'", "")  # fixed, block or random
            close = difflib.get_close_matches(str(value), known.replace(" or ", ", ").split(", "), n=1)
            return f"must be {known}, got {value!r}" + (f"; did you mean {close[0]}?" if close else "")
        case "finite_number":
            return f"must be a finite number, got {value}"
        case "int_parsing" | "int_type" | "int_from_float":
            return f"must be a whole number, got {value!r}"
        case "float_parsing" | "float_type":
            return f"must be a number, got {value!r}"
    return f"{problem['msg'].lower()}, got {value!r}"


def _written(default: object) -> str:
    match default:
        case None | bool():
            return ""
        case float():
            return f"{default:g}"
        case tuple():
            return ", ".join(map(str, default))
    return str(default)
