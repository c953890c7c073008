"""Options that only `sweep` has, or that say another thing there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import Pruner, SelectOn
from ..settings import WHAT

SEARCH, MACHINE = "The search", "Machines"
DEFAULT_TRIALS = 20

Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="A GLUE task or oasst1, or a YAML of yours; repeatable.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
AllTasks = Annotated[
    bool, typer.Option("--all-tasks", help="GLUE without wnli, as the paper.", rich_help_panel=WHAT)
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="ft, lora, meprop or sparsegrad; repeatable.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
AllMethods = Annotated[bool, typer.Option("--all-methods", help="Every method.", rich_help_panel=WHAT)]
Seed = Annotated[
    int, typer.Option(min=0, help="Seed of the sampler and of every trial's run.", rich_help_panel=WHAT)
]

Trials = Annotated[
    int | None,
    typer.Option(
        min=1,
        help=f"Trials of each study in all, those done before included. Default: {DEFAULT_TRIALS}.",
        show_default=False,
        rich_help_panel=SEARCH,
    ),
]
SpaceFile = Annotated[
    Path | None,
    typer.Option(
        help="A YAML of what else to search, or of other ranges: `density: {low: 0.002, high: 0.05, "
        "log: true}`, `batch_size: [16, 32]`. Default: the paper's learning rates and batch sizes.",
        show_default=False,
        rich_help_panel=SEARCH,
    ),
]
SelectOnOption = Annotated[
    SelectOn,
    typer.Option(
        help="dev, as the paper; or holdout, a part of train that no trial trains on: dev stays unseen.",
        rich_help_panel=SEARCH,
    ),
]
PrunerOption = Annotated[
    Pruner,
    typer.Option(
        help="What ends a trial early, at an evaluation: median (worse than half of the complete ones).",
        rich_help_panel=SEARCH,
    ),
]
ThenFinetune = Annotated[
    bool,
    typer.Option(
        "--then-finetune",
        help="Train with the best of each study on three seeds.",
        rich_help_panel=SEARCH,
    ),
]

Storage = Annotated[
    str | None,
    typer.Option(
        help="A database's URL (postgresql://...) or a journal file, for several machines. "
        "Default: sweeps/journal.log in the results folder.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes here: a GPU each, or sharing the cores. Other machines: the same command.",
        rich_help_panel=MACHINE,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with every study of the storage; needs no other option.",
        rich_help_panel=MACHINE,
    ),
]

SEARCHED = {  # help of settings that are found where they are not given
    "learning_rate": "A fixed learning rate. Default: searched.",
    "batch_size": "A fixed number of examples. Default: searched.",
}
