"""Options that several commands share; the same name means the same thing everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..store.names import CHAT_FORMATS, LOSS_ON, PRECISIONS, PROTOCOLS, PRUNERS, SELECT_ON

WHAT, RECIPE, METHOD, OUTPUT = "What to run", "Training", "The method", "Output"
CHAT = "Chat tasks"

Protocol = StrEnum("Protocol", {name: name for name in PROTOCOLS})
Precision = StrEnum("Precision", {name: name for name in PRECISIONS})
SelectOn = StrEnum("SelectOn", {name: name for name in SELECT_ON})
LossOn = StrEnum("LossOn", {name: name for name in LOSS_ON})
ChatFormat = StrEnum("ChatFormat", {name: name for name in CHAT_FORMATS})
Pruner = StrEnum("Pruner", {name: name for name in PRUNERS})
Device = StrEnum("Device", ["auto", "cpu", "cuda"])

Model = Annotated[
    str,
    typer.Option(
        help="A hub id, a local directory, a .gguf file, demo (all-MiniLM-L6-v2) or smollm2 (a chat model).",
        rich_help_panel=WHAT,
    ),
]
Task = Annotated[
    str,
    typer.Option(
        help="A GLUE task or oasst1 (see sparsegrad ls tasks), or a YAML of yours.", rich_help_panel=WHAT
    ),
]
Data = Annotated[
    str,
    typer.Option(
        help="hub, a directory with GLUE in it (oasst1: a file of conversation trees), or demo (synthetic).",
        rich_help_panel=WHAT,
    ),
]
Methods = Annotated[
    list[str],
    typer.Option("--method", help="ft, lora, meprop or sparsegrad; repeatable.", rich_help_panel=WHAT),
]
Seeds = Annotated[
    list[int], typer.Option("--seed", min=0, help="Repeatable: one run a seed.", rich_help_panel=WHAT)
]
ProtocolOption = Annotated[
    Protocol,
    typer.Option(
        help="paper: dev selects the checkpoint and is reported; heldout: half of dev selects, half is.",
        rich_help_panel=WHAT,
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to train.", rich_help_panel=WHAT)]

ParamsOption = Annotated[
    Path | None,
    typer.Option(
        help="A best.yaml of sparsegrad sweep, or a YAML of options; options given here go before it.",
        rich_help_panel=RECIPE,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Examples. Default: the paper's, else 16 (oasst1: 64).", rich_help_panel=RECIPE),
]
AccumulationSteps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Work on each batch in so many parts and sum their gradients: less memory, the same batch. "
        "oasst1: parts of 2 by default.",
        rich_help_panel=RECIPE,
    ),
]
AccumulateOnOom = Annotated[
    bool,
    typer.Option(
        "--accumulate-on-oom",
        help="When the memory runs out, begin again with each batch in 2, 4, ... parts; recorded.",
        rich_help_panel=RECIPE,
    ),
]
MaxTrainExamples = Annotated[
    int | None,
    typer.Option(min=1, help="Train on so many examples, a fixed random choice.", rich_help_panel=RECIPE),
]
Length = Annotated[
    int | None,
    typer.Option(min=4, help="Tokens, at most. Default: 128 (oasst1: 512).", rich_help_panel=RECIPE),
]
PadToMax = Annotated[
    bool,
    typer.Option("--pad-to-max", help="Pad every batch to --length, as the paper.", rich_help_panel=RECIPE),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="tf32: CUDA only; bf16: autocast over float32 weights; bf16-weights: what is frozen is held in "
        "bf16 too (chat tasks). Default: fp32 (oasst1 on CUDA: bf16-weights).",
        rich_help_panel=RECIPE,
    ),
]
FreezeRest = Annotated[
    bool | None,
    typer.Option(
        "--freeze-rest/--train-rest",
        help="Train only the adapter part and the head, not the whole rest. Default: the rest too "
        "(oasst1: frozen).",
        rich_help_panel=RECIPE,
        show_default=False,
    ),
]
Blocks = Annotated[
    str | None,
    typer.Option(
        help="Whose MLP matrices a method is put on: all, every:3 (0, 3, 6, ...), or numbers such as 0-3,8. "
        "Default: all (oasst1: every:3).",
        rich_help_panel=METHOD,
    ),
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option(
        "--gradient-checkpointing",
        help="Make activations again in backward: less memory, a third slower.",
        rich_help_panel=RECIPE,
    ),
]
Languages = Annotated[
    list[str],
    typer.Option(
        "--language",
        help="Of the conversations: a code such as en, or all; repeatable.",
        rich_help_panel=CHAT,
    ),
]
LossOnOption = Annotated[
    LossOn | None,
    typer.Option(help="Whose turns the loss counts. Default: assistant.", rich_help_panel=CHAT),
]
ChatFormatOption = Annotated[
    ChatFormat | None,
    typer.Option(
        help="How turns are written: the tokenizer's own template, or LLaMA-2's. Default: its own, if any.",
        rich_help_panel=CHAT,
    ),
]

Density = Annotated[
    float | None,
    typer.Option(
        help="meprop, sparsegrad: share of each MLP matrix trained at a step. Default: 0.01 "
        "(oasst1: 0.002; LLaMA-2-7B: --kept 100000).",
        rich_help_panel=METHOD,
    ),
]
Kept = Annotated[
    int | None,
    typer.Option(min=1, help="The same as a number of entries.", rich_help_panel=METHOD),
]
Rank = Annotated[
    int | None,
    typer.Option(
        min=1, help="lora: 7 by default, 10 from hidden size 1024 (oasst1: 32).", rich_help_panel=METHOD
    ),
]
CalibrationSteps = Annotated[
    int | None,
    typer.Option(min=1, help="sparsegrad: batches that make the basis. Default: 30.", rich_help_panel=METHOD),
]
BasisRank = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="sparsegrad: keep so many leading directions of the basis a side. Default: all.",
        rich_help_panel=METHOD,
    ),
]

CheckpointMinutes = Annotated[
    float, typer.Option(min=0, help="Age at which a checkpoint is renewed.", rich_help_panel=OUTPUT)
]
PredictTest = Annotated[
    bool,
    typer.Option(
        "--predict-test",
        help="Predict GLUE's test split too, for report --glue-zip.",
        rich_help_panel=OUTPUT,
    ),
]
Output = Annotated[Path, typer.Option(help="The results folder.", rich_help_panel=OUTPUT)]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on stdout, all else on stderr.", rich_help_panel=OUTPUT),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, say what would be done.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.", rich_help_panel=OUTPUT)]
