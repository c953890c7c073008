"""`sparsegrad`: the commands, and how every one of them ends.

Exit codes: 0 done, 1 the work failed, 2 bad usage or bad input, 130 stopped by Ctrl-C, SIGTERM or SIGUSR1.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import Annotated, Any, NoReturn, TextIO

import typer

from .. import __version__, interrupts
from ..errors import InputError, UnreadableResultWarning, WorkError
from ..store.io import redact
from .bench import bench
from .calibrate import calibrate
from .finetune import finetune
from .judge import judge
from .ls import ls
from .report import report
from .run import run
from .sweep import sweep

UsageError: Any = typer.BadParameter.__mro__[1]
INTERRUPTED = 130

app = typer.Typer(
    name="sparsegrad",
    pretty_exceptions_enable=False,
    help="Does SparseGrad hold up on your model and task, against full fine-tuning, LoRA and MeProp?",
    epilog="A first look, in minutes: sparsegrad finetune --task cola --data demo --method lora "
    "--method sparsegrad --max-steps 100",
)
app.command()(calibrate)
app.command()(finetune)
app.command()(judge)
app.add_typer(bench, name="bench")
app.add_typer(sweep, name="sweep")
app.command()(run)
app.command()(report)
app.command()(ls)


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
    """What goes before a verb."""


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
        code = _end(INTERRUPTED, f"stopped; {_how_to_go_on(arguments)}", debug)
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


def _how_to_go_on(arguments: list[str]) -> str:
    match arguments[:1]:
        case ["bench"]:
            return "the same command measures anew"
        case ["sweep"]:
            return "sparsegrad sweep --resume goes on, as does the same command"
        case ["judge"]:
            return "the same command goes on where this one was"
    return "the same command goes on from the last checkpoint"


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
