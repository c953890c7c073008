"""`sparsegrad`: the commands, and how every one of them ends.

Exit codes: 0 done, 1 the work failed, 2 bad usage or bad input, 130 stopped by Ctrl-C, SIGTERM or SIGUSR1.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from .. import __version__, interrupts
from ..errors import InputError, UnreadableResultWarning, WorkError
from ..store.io import redact

UsageError: Any = typer.BadParameter.__mro__[1]
INTERRUPTED = 130
VERBS = {  # the first sentence of each one's help
    "calibrate": "Find the basis in which a model's MLP gradients are nearly sparse, and save it.",
    "finetune": "Fine-tune a model on a task by one method or several, once a seed, and compare them.",
    "judge": "Have a model answer the questions of MT-Bench, both turns, and a judge rate each answer from 1 "
    "to 10.",
    "bench": "Measure the training step of each method side by side: speed, memory, and the use of the "
    "hardware.",
    "sweep": "Search the learning rate and batch size of each method on each task: one study of trials each.",
    "run": "Do every cell of an experiment that is not done yet: a whole table of the paper, or of yours.",
    "export": "Write a finished run as others load it: PEFT, Transformers, vLLM.",
    "push": "Upload a finished run to the hub, with a card that says what it is and what it scored.",
    "report": "Print what was found, and write it with figures as files.",
    "ls": "List methods, tasks, models, experiments, or the runs in the results folder.",
}
MODULES = {"push": "export"}  # of verbs that are beside another
COMPUTING = {"calibrate", "finetune", "judge", "bench", "sweep", "run"}
HOW_TO_GO_ON = {
    "bench": "the same command measures again",
    "sweep": "sparsegrad sweep --resume goes on, as does the same command",
    "judge": "the same command goes on where this one was",
}


class Verbs(TyperGroup):
    """The verbs, each imported when it is called: `--help` answers at once."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        if name in COMPUTING and not {"--help", "--dry-run"} & {*rest}:
            from ..hardware import wait_without_spinning  # before torch is imported

            line = wait_without_spinning()
            if line and "--quiet" not in rest:
                print(f"sparsegrad: {line}", file=sys.stderr)
        return name, load_verb(str(name)), rest


@cache
def load_verb(name: str) -> Any:
    """Returns the command of a verb: what its module names like the verb, a function or a `Typer`."""
    found = getattr(import_module(f".{MODULES.get(name, name)}", __package__), name)
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return get_command(alone)


app = typer.Typer(
    name="sparsegrad",
    cls=Verbs,
    pretty_exceptions_enable=False,
    help="Does SparseGrad hold up on your model and task, against full fine-tuning, LoRA and MeProp?",
    epilog="A first look, in about two minutes: sparsegrad finetune --task sst2 --data demo --method ft "
    "--method lora --method meprop --method sparsegrad --max-steps 40 --learning-rate 3e-4",
)
for _name, _help in VERBS.items():
    app.command(_name, help=_help)(lambda: None)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sparsegrad {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; goes before or after the verb.")
    ] = False,
) -> None:
    """Options that go before a verb."""


def main() -> NoReturn:
    """The console script."""
    arguments = sys.argv[1:] or ["--help"]
    debug = "--debug" in arguments
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read once, when torch is imported
    arguments = [argument for argument in arguments if argument != "--debug"]
    warnings.showwarning = _show_warning
    interrupts.listen()
    try:
        code = app(arguments, standalone_mode=False) or 0
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except (KeyboardInterrupt, typer.Abort):
        go_on = HOW_TO_GO_ON.get(arguments[0], "the same command goes on from the last checkpoint")
        code = _end(INTERRUPTED, f"stopped; {go_on}", debug)
    except UsageError as error:
        hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        code = _end(2, error.format_message().rstrip(".") + hint, debug)
    except InputError as error:
        code = _end(2, str(error), debug)
    except WorkError as error:
        code = _end(1, str(error), debug)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has had enough
        code = 0
    except Exception as error:
        hint = "" if debug else " (--debug shows where)"
        code = _end(1, f"{type(error).__name__}: {error}{hint}", debug)
    sys.exit(code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print our own warnings as one line, those of libraries as Python does."""
    if issubclass(category, UnreadableResultWarning):
        text = f"sparsegrad: {redact(str(message))}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    print(text, end="", file=file or sys.stderr)


def _end(code: int, message: str, debug: bool) -> int:
    if debug:
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
    print(f"sparsegrad: {redact(' '.join(message.split()))}", file=sys.stderr)
    return code
