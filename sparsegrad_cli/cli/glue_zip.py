"""`sparsegrad report --glue-zip`: test predictions for GLUE's leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from ..config import Protocol
from ..errors import InputError
from . import options as opt

option = partial(opt.option, panel="A submission to GLUE's leaderboard")
Fill = StrEnum("Fill", ["majority"])
GlueZip = Annotated[
    Path | None,
    option(help="Write this zip, in place of a report, from runs of finetune --predict-test."),
]
OfMethod = Annotated[str | None, option("--method", help="Only runs of this method.")]
OfSeed = Annotated[int | None, option("--seed", min=0, help="Only runs of this seed.")]
OfModel = Annotated[str | None, option("--model", help="Only runs of this model, as it was given.")]
OfProtocol = Annotated[Protocol | None, option("--protocol", help="Only runs of this protocol.")]
FillMissing = Annotated[Fill | None, option(help="Answer WNLI with its commonest class if no run did.")]


def write_glue_zip(
    path: Path,
    folders: Sequence[Path],
    choice: Mapping[str, Any],
    fill: Fill | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the zip and print what it holds.

    Args:
        choice: method, seed, model and protocol of the runs; None: any.
        fill: how to answer WNLI if no run did.

    Raises:
        InputError, WorkError: as `write_submission`.
    """
    from ..report.submission import Wanted, write_submission

    made = write_submission(path, folders, Wanted(**choice), fill_majority=fill is not None)
    if as_json:
        print(made.model_dump_json(indent=2))
    elif not quiet:
        print("\n".join(made.lines()))


def refuse(why: str, **options: object) -> None:
    """Refuse options that would have no effect.

    Raises:
        InputError: one of them is given.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: {why}")
