"""What `bench` and `bench calibrate` share: options, and how a result is kept and shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..settings import WHAT

if TYPE_CHECKING:
    from ..bench.folder import AnyConfig, AnyResult, Bench
    from ..bench.run import Tell

InitOption = Annotated[
    Literal["pretrained", "random"],
    typer.Option(
        help="random: the architecture alone, nothing to fetch for the BERT and RoBERTa models of the hub.",
        rich_help_panel=WHAT,
    ),
]
Layers = Annotated[
    int | None, typer.Option(min=1, help="Only the first so many blocks.", rich_help_panel=WHAT)
]
MaybeTask = Annotated[
    str | None,
    typer.Option(
        help="Batches of a GLUE task (see sparsegrad ls tasks). Default: random tokens, all of --length.",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of weights, batches and dropout.", rich_help_panel=WHAT)]


def quiet(wanted: bool) -> None:
    """Keeps the libraries from talking; where `wanted`, from showing downloads too."""
    from ..training.inputs import quiet_libraries

    quiet_libraries(downloads=not wanted)


def teller(quiet: bool) -> Tell:
    """Prints progress on stderr, unless `quiet`."""

    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    return tell


def keep(output: Path, config: AnyConfig, result: AnyResult) -> Bench:
    """Write a result and what it was measured on."""
    from ..bench.folder import bench_folder, write_bench
    from ..store.environment import describe_environment

    data = f"sha256:{config.data_revision}" if config.data_revision else "random tokens"
    environment = describe_environment(config.checkpoint, data, restarts=0)
    with bench_folder(output, config).lock(timeout=60):  # another process may have measured the same
        return write_bench(output, config, result, environment)


def show(done: Bench, as_json: bool, quiet: bool) -> None:
    """Prints a result, as JSON or as tables."""
    from rich.console import Console

    from ..report.bench_tables import bench_section
    from ..report.render.terminal import print_section

    if as_json:
        result = done.result.model_dump(mode="json")
        around = {"config": done.config, "environment": done.environment}
        documents = {name: record.model_dump(mode="json") for name, record in around.items()}
        print(json.dumps({**result, **documents}, indent=2))
    else:
        print_section(Console(), bench_section(done))
    if not quiet:
        print(f"written: {done.folder}", file=sys.stderr)
