"""Options of the commands: those of a record's settings are made from it, the others are spelled out here.

The same name means the same thing in every command.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from ..config import SETTINGS, ExecutionOptions, Save, Tracker
from ..settings import OUTPUT, TRAINING, WHAT, Setting

GIVEN = "given"  # the parameter that settings stand for


def takes_settings(
    known: Mapping[str, Setting], leave_out: Collection[str] = (), helps: Mapping[str, str] | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Lets a command have an option for each setting, in the place of its parameter `given`.

    `@takes_settings(SETTINGS) def finetune(*, task: opt.Task, given: Given)` has --task and an option for
    every setting; `given` maps the names of those that the user gave to their values.

    Args:
        leave_out: settings that the command does not have.
        helps: help texts in place of the settings' own.
    """
    taken = {name: setting for name, setting in known.items() if name not in leave_out}

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        hints = get_type_hints(command, include_extras=True)
        parameters: list[Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == GIVEN:
                parameters += [_parameter(each, (helps or {}).get(each.name)) for each in taken.values()]
            else:
                own = {"annotation": hints[parameter.name], "kind": Parameter.KEYWORD_ONLY}
                parameters.append(parameter.replace(**own))

        @functools.wraps(command)
        def flat(**typed: Any) -> int:
            given = {name: typed.pop(name) for name in taken}
            typed[GIVEN] = {name: value for name, value in given.items() if value not in (None, [])}
            return command(**typed)

        # what Typer reads
        flat.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=int)
        flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return flat

    return decorate


def _parameter(setting: Setting, help: str | None) -> Parameter:
    """Returns an option that is None where the user leaves it open."""
    kind = setting.type
    if get_origin(kind) is tuple:  # repeatable
        kind = list[str]
    option = typer.Option(
        None,
        setting.flag,
        help=help or setting.help_text(),
        min=setting.at_least if setting.is_number() else None,
        show_default=False,
        rich_help_panel=setting.panel,
    )
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=option, annotation=kind | None)


def option(*flags: str, help: str, panel: str = OUTPUT, show_default: bool = False, **more: Any) -> Any:
    """Returns an option of a command; its help says the default in words."""
    return typer.Option(*flags, help=help, rich_help_panel=panel, show_default=show_default, **more)


Task = Annotated[str, option(help=SETTINGS["task"].help, panel=WHAT)]
Methods = Annotated[list[str], option("--method", help=f"{SETTINGS['method'].help} Repeatable.", panel=WHAT)]
Seeds = Annotated[
    list[int],
    option("--seed", min=0, help="Repeatable: one run a seed.", panel=WHAT, show_default=True),
]
Params = Annotated[
    Path | None,
    option(
        help="A best.yaml of sparsegrad sweep, or a YAML of settings; an option given here counts more.",
        panel=TRAINING,
    ),
]
AccumulateOnOom = Annotated[
    bool,
    option(
        "--accumulate-on-oom",
        help="When the memory runs out, begin again with each batch in 2, 4, ... micro batches.",
        panel=TRAINING,
    ),
]
CheckpointMinutes = Annotated[float, option(min=0, help="Minutes between checkpoints.", show_default=True)]
PredictTest = Annotated[
    bool, option("--predict-test", help="Predict GLUE's test split too, for report --glue-zip.")
]
SaveWhat = Annotated[
    Save,
    option(
        help="model: for from_pretrained; adapter: for PEFT, where the update is of low rank or sparse, else "
        "the model; none.",
        show_default=True,
    ),
]
ReportTo = Annotated[
    list[str] | None,
    option(
        metavar="|".join(get_args(Tracker)),
        help="Tell an experiment tracker about each run; repeatable. Default: none.",
    ),
]
Run = Annotated[
    str, typer.Argument(help="A run: its id (see sparsegrad ls runs) or its folder.", metavar="RUN")
]
To = Annotated[
    Literal["lora", "plain", "shira"],
    option(help="lora and shira: adapters of PEFT; plain: the whole model.", show_default=True),
]
AdapterRank = Annotated[
    int | None,
    option("--rank", min=1, help="Rank of the adapter. Default: that of the update itself."),
]
Output = Annotated[Path, option(help="The results folder.", show_default=True)]
Json = Annotated[bool, option("--json", help="One JSON document on stdout, all else on stderr.")]
DryRun = Annotated[bool, option("--dry-run", help="Check everything, say what would be done.")]
Verbose = Annotated[
    bool, option("--verbose", help="End with all columns, the differences by task and what the numbers mean.")
]
Quiet = Annotated[bool, option("--quiet", help="No progress on stderr.")]


def execution_options(
    save: Save,
    checkpoint_minutes: float,
    report_to: Collection[str] | None,
    accumulate_on_oom: bool,
    predict_test: bool,
) -> ExecutionOptions:
    """Returns what the five options of an execution come to.

    Raises:
        InputError: there is no such tracker, or its package is not installed.
    """
    from ..training.track import read_trackers

    return ExecutionOptions(
        checkpoint_seconds=60 * checkpoint_minutes,
        keep_model=save == "model",
        keep_adapter=save == "adapter",
        report_to=read_trackers(report_to) if report_to else (),
        accumulate_on_oom=accumulate_on_oom,
        predict_test=predict_test,
    )
