"""`sparsegrad report --glue-zip`: test predictions for GLUE's leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import Protocol
from ..errors import InputError

SUBMISSION = "A submission to GLUE's leaderboard"

Fill = StrEnum("Fill", ["majority"])

GlueZip = Annotated[
    Path | None,
    typer.Option(
        help="Write this zip, in place of a report, from runs of finetune --predict-test.",
        show_default=False,
        rich_help_panel=SUBMISSION,
    ),
]
OfMethod = Annotated[str | None, typer.Option("--method", help="Of this method.", rich_help_panel=SUBMISSION)]
OfSeed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Of this seed.", rich_help_panel=SUBMISSION)
]
OfModel = Annotated[
    str | None, typer.Option("--model", help="Of this model, as it was given.", rich_help_panel=SUBMISSION)
]
OfProtocol = Annotated[
    Protocol | None, typer.Option("--protocol", help="Of this protocol.", rich_help_panel=SUBMISSION)
]
FillMissing = Annotated[
    Fill | None,
    typer.Option(help="Answer WNLI with its commonest class if no run did.", rich_help_panel=SUBMISSION),
]


def write_glue_zip(
    path: Path,
    folders: Sequence[Path],
    choice: Mapping[str, Any],
    fill: Fill | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Writes the zip and says what it holds.

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
    """Refuses options that would have no effect.

    Raises:
        InputError: one of them is given.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: {why}")
