"""Groups of options: declared once as a dataclass, taken whole by each command that has them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from inspect import Parameter
from typing import TYPE_CHECKING, get_type_hints

if TYPE_CHECKING:
    from ..training.choices import Choices


@dataclass(frozen=True)
class OptionGroup:
    """What a group derives from: its fields are options, annotated and with defaults as parameters would be.

    Each has the name of the field of `Choices` that it fills.
    """


def takes_groups(command: Callable[..., int]) -> Callable[..., int]:
    """Lets a command have an `OptionGroup` as a parameter: in its place stand the group's options.

    `def finetune(*, task: opt.Task, step: StepOptions)` has --task and every option of `StepOptions`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[OptionGroup]] = {}
    parameters: list[Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if inspect.isclass(hint) and issubclass(hint, OptionGroup):
            groups[parameter.name] = hint
            parameters += _parameters(hint)
        else:
            parameters.append(parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def flat(**given: object) -> int:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        return command(**given)

    # what Typer reads
    flat.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=int)
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def filled(choices: Choices, *groups: OptionGroup) -> Choices:
    """The choices with those of the groups: an enum's word in its place, a tuple in a list's."""
    chosen = {name: _plain(value) for group in groups for name, value in vars(group).items()}
    return replace(choices, **chosen)


def _parameters(group: type[OptionGroup]) -> list[Parameter]:
    hints, defaults = get_type_hints(group, include_extras=True), vars(group())
    return [
        Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=defaults[field.name], annotation=hints[field.name]
        )
        for field in fields(group)
    ]


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case list():
            return tuple(value)
    return value
