"""`sparsegrad export`: a finished run as an adapter of PEFT or a plain model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import InputError
from . import options as opt

if TYPE_CHECKING:
    from ..store.folder import RunFolder


def export(
    run: Annotated[
        str, typer.Argument(help="A run: its id (see sparsegrad ls runs) or its folder.", metavar="RUN")
    ],
    to: Annotated[
        Literal["lora", "plain", "shira"],
        typer.Option(help="lora and shira: adapters of PEFT; plain: the whole model."),
    ] = "lora",
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the adapter. Default: that of the update itself.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="A new folder. Default: the run's folder, with the form's name.")
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
