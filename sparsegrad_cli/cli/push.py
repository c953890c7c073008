"""`sparsegrad push`: a finished run goes to the hub."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options as opt
from .export import find_run


def push(
    run: Annotated[
        str, typer.Argument(help="A run: its id (see sparsegrad ls runs) or its folder.", metavar="RUN")
    ],
    name: Annotated[
        str, typer.Argument(help="Name of the repository, user/name; made if there is none.", metavar="NAME")
    ],
    to: Annotated[
        Literal["lora", "plain", "shira"],
        typer.Option(help="lora and shira: adapters of PEFT; plain: the whole model."),
    ] = "plain",
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the adapter. Default: that of the update itself.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """Upload a finished run to the hub, with a card that says what it is and what it scored."""
    from ..training.export import export_run
    from ..training.inputs import quiet_libraries
    from ..training.push import push_folder

    quiet_libraries(downloads=False)
    folder = find_run(run, output)
    with tempfile.TemporaryDirectory() as scratch:
        command = " ".join(folder.read().environment.command)
        exported = export_run(folder, to, Path(scratch) / to, rank, command)
        print("\n".join(exported.lines()[1:]), file=sys.stderr)
        address = push_folder(exported.folder, name, folder.config.model, private)
    print(json.dumps({"name": name, "url": address}) if as_json else address)
    return 0
