"""`sparsegrad export` and `push`: a finished run as an adapter of PEFT or a plain model."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import options as opt

if TYPE_CHECKING:
    from ..store.folder import RunFolder


def export(
    run: opt.Run,
    to: opt.To = "lora",
    rank: opt.AdapterRank = None,
    into: Annotated[
        Path | None, opt.option(help="A new folder. Default: the run's folder, with the form's name.")
    ] = None,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """Write a finished run as others load it: PEFT, Transformers, vLLM.

    An adapter is exact for truncated and block updates; for others it is the nearest of --rank, and the error
    is printed.
    """
    from ..training.export import export_run
    from ..training.inputs import quiet_libraries

    quiet_libraries(downloads=False)
    folder = find_run(run, output)
    exported = export_run(folder, to, into or folder.path / to, rank)
    if as_json:
        document = {**dataclasses.asdict(exported), "folder": str(exported.folder), "vllm": exported.vllm()}
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(exported.lines()))
    return 0


def push(
    run: opt.Run,
    name: Annotated[
        str, typer.Argument(help="Name of the repository, user/name; made if there is none.", metavar="NAME")
    ],
    to: opt.To = "plain",
    rank: opt.AdapterRank = None,
    private: Annotated[bool, opt.option("--private", help="Make a new repository private.")] = False,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
) -> int:
    """Upload a finished run to the hub, with a card that says what it is and what it scored."""
    from ..models.checkpoint import published_name
    from ..training.export import export_run
    from ..training.inputs import quiet_libraries
    from ..training.push import push_folder

    quiet_libraries(downloads=False)
    folder = find_run(run, output)
    with tempfile.TemporaryDirectory() as scratch:
        command = " ".join(folder.read().environment.command)
        exported = export_run(folder, to, Path(scratch) / to, rank, command)
        print("\n".join(exported.lines()[1:]), file=sys.stderr)
        base = published_name(folder.config.model)
        address = push_folder(exported.folder, name, base, private)
    print(json.dumps({"name": name, "url": address}) if as_json else address)
    return 0


def find_run(run: str, results: Path) -> RunFolder:
    """Returns the folder of a run that is named by its id, or by its path.

    Raises:
        InputError: there is none.
    """
    from ..store.folder import RUNS, ResultFolder

    for path in (Path(run), results / RUNS.place / run):
        if (path / "config.json").is_file():
            return ResultFolder(RUNS, path)
    raise InputError(f"no run {run} in {results}: see sparsegrad ls runs, or name its folder")
