"""`sparsegrad report`: the tables of what is in results/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import options as opt


def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Results folders, or single runs. Default: results.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where report.md and report.csv go. Default: the first folder.",
            show_default=False,
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    as_json: opt.Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Write the files, print no tables.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> int:
    """Print the tables of what has been run, and write them as Markdown and CSV."""
    from rich.console import Console

    from ..report import build_report

    folders = folders or [Path("results")]
    made = build_report(folders)
    written = made.write(output or folders[0])
    if as_json:
        print(json.dumps({**made.to_json(), "files": [str(path) for path in written]}, indent=2))
    elif not quiet:
        made.print(Console())
        Console(stderr=True).print(
            f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True
        )
    return 0
